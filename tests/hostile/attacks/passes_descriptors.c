/* passes_descriptors.c - sends and receives descriptors by every number there is; no socket is left to a worker that serves. Errnos. */
#include <sys/socket.h>

#include "attack.h"

ATTACK
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte = 0;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	uint32_t size = 0;
	for (int fd = 0; fd < 64; fd++) {
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.bytes,
				     .msg_controllen = sizeof(control.bytes)};
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
		size = saw(out, size, outcome(sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)));
		size = saw(out, size, outcome(recvmsg(fd, &msg, MSG_DONTWAIT)));
	}
	return size;
}
