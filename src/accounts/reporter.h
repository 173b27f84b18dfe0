/*
 * reporter.h - a node's end: writes what its tenants have used into its table on the accounting node, by RDMA. A thread of its own, which blocks and connects again
 * for ever; the functions here are the control thread's and wait for nothing but a lock that is held for microseconds.
 */
#ifndef ADVERB_ACCOUNTS_REPORTER_H
#define ADVERB_ACCOUNTS_REPORTER_H

#include <sys/socket.h>

#include "accounts/account.h"

struct adv_reporter_options {
	struct sockaddr_storage address; /* of the accounting node */
	uint8_t key[ADV_ACCOUNT_KEY_BYTES];
	uint8_t node[ADV_ACCOUNT_NODE_BYTES];
	bool adds;
	/* Adding: what the accounting node has heard of already, or never will: absolute totals at this start. Copied. */
	const struct adv_account *begun;
	size_t nr_begun;
};

struct adv_reporter;

int adv_reporter_start(const struct adv_reporter_options *options, struct adv_reporter **reporter);

/* What tenants have used by now, absolute totals; copied. Those beyond ADV_ACCOUNT_LINES are left out, and that is logged once. */
void adv_reporter_give(struct adv_reporter *reporter, const struct adv_account *accounts, size_t n);

/* Writes what was given last, if it is connected, and ends: within two seconds. */
void adv_reporter_stop(struct adv_reporter *reporter);

struct adv_reporter_state {
	bool connected;
	bool settled;	/* all that was given last is written, and has come */
	char why[160];	/* not connected: since when what is wrong */
	uint64_t lines; /* written since the start */
};
void adv_reporter_state(struct adv_reporter *reporter, struct adv_reporter_state *state);

#endif
