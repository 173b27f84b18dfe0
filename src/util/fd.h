/* fd.h - descriptors that close themselves: for control plane and sandbox set-up, not for the data plane. */
#ifndef ADVERB_UTIL_FD_H
#define ADVERB_UTIL_FD_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Closes *fd when it is one, sets it to -1, keeps errno. */
static inline void adv_fd_close(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		close(*fd);
		errno = saved;
	}
	*fd = -1;
}

/* Hands the descriptor on, so that its cleanup does nothing. */
static inline int adv_fd_steal(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

static inline void adv_free_pointer(void *p)
{
	free(*(void **)p);
}

#define ADV_CLEANUP_FD	 __attribute__((cleanup(adv_fd_close)))
#define ADV_CLEANUP_FREE __attribute__((cleanup(adv_free_pointer)))

#endif
