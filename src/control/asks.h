/*
 * asks.h - requests to the warden, in order, without blocking: what its socket has no room for waits here, with copies of its
 * descriptors, and nothing overtakes it. Control thread only.
 */
#ifndef ADVERB_CONTROL_ASKS_H
#define ADVERB_CONTROL_ASKS_H

#include "control/loop.h"
#include "sandbox/proto.h"

struct adv_asks_waiting;

struct adv_asks {
	int socket; /* borrowed */
	struct adv_timer again;
	struct adv_asks_waiting *first, **last;
};

void adv_asks_init(struct adv_asks *asks, struct adv_loop *loop, int socket);
void adv_asks_end(struct adv_asks *asks); /* what waits is forgotten */

/* The descriptors stay the caller's. 0; -ENOMEM, -EMFILE: it could not even wait; another -errno: the warden is gone. */
int adv_asks_send(struct adv_asks *asks, const struct adv_warden_request *request, const int *fds,
		  unsigned nr_fds);

#endif
