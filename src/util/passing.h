/* passing.h - descriptors over Unix sockets: SCM_RIGHTS, unix(7). Any thread; libc alone. */
#ifndef ADVERB_UTIL_PASSING_H
#define ADVERB_UTIL_PASSING_H

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#define ADV_PASSING_MAX 16 /* descriptors in one record */

/* Ancillary data for them, aligned as the kernel wants it. */
union adv_passing {
	char bytes[CMSG_SPACE(sizeof(int) * ADV_PASSING_MAX)];
	struct cmsghdr align;
};

/* sendmsg() of pieces with nr_fds descriptors (0 to ADV_PASSING_MAX), which stay the sender's. */
static inline ssize_t adv_send_pieces(int socket, struct iovec *pieces, size_t nr_pieces,
				      const int *fds, unsigned nr_fds, int flags)
{
	union adv_passing control;
	struct msghdr msg = {.msg_iov = pieces, .msg_iovlen = nr_pieces};
	if (nr_fds > 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nr_fds);
	}
	return sendmsg(socket, &msg, flags);
}

/* The same of one piece. */
static inline ssize_t adv_send_fds(int socket, const void *data, size_t size, const int *fds,
				   unsigned nr_fds, int flags)
{
	struct iovec piece = {.iov_base = (void *)data, .iov_len = size};
	return adv_send_pieces(socket, &piece, 1, fds, nr_fds, flags);
}

/* The descriptors of a record that was received with room for at most `max`; they are the receiver's now. Returns how many. */
static inline unsigned adv_received_fds(struct msghdr *msg, int *fds, unsigned max)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (n > max)
		n = max;
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return (unsigned)n;
}

#endif
