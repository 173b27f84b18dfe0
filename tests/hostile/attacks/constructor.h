/* constructor.h - what attacks of constructors share: the order that the worker was given, and the socket it came by. In a sandbox. */
#ifndef ADVERB_TESTS_HOSTILE_CONSTRUCTOR_H
#define ADVERB_TESTS_HOSTILE_CONSTRUCTOR_H

#include <sys/socket.h>

#include "attack.h"
#include "sandbox/plan.h"
#include "sandbox/proto.h"

#define CONSTRUCTOR __attribute__((constructor)) static void construct(void)

/* One record of any size to the node, and perhaps a descriptor with it. */
static inline ssize_t tell_node(const void *record, size_t size, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = (void *)record, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(ADV_SANDBOX_FD_SOCKET, &msg, MSG_NOSIGNAL);
}

/*
 * The order lies in a frame above this one: LOAD (ahead of a lease) is told from INSPECT (at deploy) by the geometry that comes with it. An
 * attack that only shows once it is deployed begins so.
 */
static inline int is_loaded_ahead(void)
{
	const uint32_t *p = __builtin_frame_address(0);
	for (size_t i = 0; i < 4096; i++) {
		if (i % 1024 == 0 && !readable((uintptr_t)(p + i + 1024)))
			return 0;
		if (p[i] == ADV_ORDER_LOAD && p[i + 1] == 0 && p[i + 3] == ADV_SLOTS_DEFAULT &&
		    p[i + 4] == ADV_CAPACITY_DEFAULT && p[i + 5] == ADV_CAPACITY_DEFAULT)
			return 1;
	}
	return 0;
}

#endif
