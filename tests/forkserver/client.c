// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A program that runs in a process forked by server.py, as if it had been started here: with these
 * arguments, this environment, working directory, and standard input, output and error. Called by a
 * name that ends in "pagedbg" it is pagedbg, else it is the Python interpreter.
 *
 * The server's socket is beside this program's file. To it goes a message: its length, how many
 * arguments follow, and the working directory, the arguments and the environment, each ended by a
 * NUL; the descriptors go along with the first byte. Back comes the exit status, as wait(2) has it.
 */
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET "socket"
#define MOST   (4 << 20)

extern char **environ;

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(125);
}

static char *put(char *at, const char *end, const char *text)
{
	size_t size = strlen(text) + 1;

	if (size > (size_t)(end - at)) {
		fprintf(stderr, "forkserver: too many arguments\n");
		exit(125);
	}
	return memcpy(at, text, size) + size;
}

static int connect_to_server(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const size_t room = sizeof(address.sun_path) - sizeof(SOCKET);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t length = readlink("/proc/self/exe", address.sun_path, room);
	char *slash = length > 0 ? strrchr(address.sun_path, '/') : NULL;

	if (!slash || length == (ssize_t)room) {
		fprintf(stderr, "forkserver: the path of this program is too long\n");
		exit(125);
	}
	strcpy(slash + 1, SOCKET);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die(address.sun_path);
	return fd;
}

/* The first byte of a message, with what this process reads from and writes to. */
static void send_descriptors(int fd, char *byte)
{
	static const int descriptors[] = { 0, 1, 2 };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(descriptors))];
	} control = { 0 };
	struct iovec data = { byte, 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(descriptors));
	memcpy(CMSG_DATA(header), descriptors, sizeof(descriptors));
	if (sendmsg(fd, &message, 0) != 1)
		die("forkserver: sendmsg");
}

int main(int argc, char **argv)
{
	static char buffer[MOST];
	char cwd[PATH_MAX], *at = buffer + 2 * sizeof(uint32_t);
	uint32_t numbers[2];
	int32_t status;
	int fd = connect_to_server();

	if (!getcwd(cwd, sizeof(cwd)))
		die("forkserver: getcwd");
	at = put(at, buffer + MOST, cwd);
	for (int i = 0; i < argc; i++)
		at = put(at, buffer + MOST, argv[i]);
	for (char **each = environ; *each; each++)
		at = put(at, buffer + MOST, *each);
	numbers[0] = at - buffer - sizeof(numbers);
	numbers[1] = argc;
	memcpy(buffer, numbers, sizeof(numbers));
	send_descriptors(fd, buffer);
	for (char *from = buffer + 1; from < at;) {
		ssize_t written = write(fd, from, at - from);

		if (written < 0)
			die("forkserver: write");
		from += written;
	}
	if (recv(fd, &status, sizeof(status), MSG_WAITALL) != sizeof(status)) {
		fprintf(stderr, "forkserver: the server is gone\n");
		return 125;
	}
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
		return 128 + WTERMSIG(status);
	}
	return WEXITSTATUS(status);
}
