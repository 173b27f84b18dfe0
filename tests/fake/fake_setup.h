/*
 * fake_setup.h - what libibverbs and librdmacm export, as far as links, pairs, pollers and clients call it, on the fake device.
 *
 * fake_setup.c defines these functions under their own names: a program that is linked with it gets them instead of the libraries'. Any
 * of them can be made to fail (fake_fail_next(), fake_fail_nth()). Connecting takes no time: events are there when the call returns.
 */
#ifndef ADVERB_TESTS_FAKE_SETUP_H
#define ADVERB_TESTS_FAKE_SETUP_H

#include <rdma/rdma_cma.h>

#include "fake_verbs.h"

/*
 * The device that identifiers resolve to, and that the list of devices has; NULL: there is none any more, and if an identifier, a channel
 * or an event is left, that is the program's end.
 */
void fake_setup_device(struct fake_device *device);

/* What rdma_connect() is answered with. */
struct fake_answer {
	uint32_t number;   /* private data of an accepted connection */
	const char *why;   /* of a refused one; NULL: none */
	bool without_data; /* accepted without private data */
};

/* Who answers: returns the queue pair to connect `id`'s with, or NULL: refused. */
void fake_setup_listener(struct ibv_qp *(*answer)(void *user, struct rdma_cm_id *id,
						  const void *hello, size_t size,
						  struct fake_answer *answer),
			 void *user);

/* Instead of the n-th event from now on, the first being 1, comes this one. 0: never mind. True: the last one so ordered has come. */
bool fake_setup_event(unsigned n, enum rdma_cm_event_type type, int status);

/* No event comes any more; or again. */
void fake_setup_silent(bool silent);

/* The addresses that the device has. */
void fake_setup_gids(const struct ibv_gid_entry *entries, size_t nr);

/* What rdma_set_option() and ibv_modify_qp() were told last. */
struct fake_told {
	uint8_t ack_timeout, rnr_timer;
	struct rdma_conn_param param; /* of rdma_connect() */
};
const struct fake_told *fake_setup_told(void);

#endif
