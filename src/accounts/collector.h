/*
 * collector.h - the accounting node's end: a table for each node that reports, in memory that only that node's queue pair reaches, looked at each second.
 * A thread of its own, which blocks; the functions here are the control thread's and wait for nothing but a lock that is held for microseconds.
 */
#ifndef ADVERB_ACCOUNTS_COLLECTOR_H
#define ADVERB_ACCOUNTS_COLLECTOR_H

#include <sys/socket.h>

#include "accounts/account.h"
#include "allocator/ledger.h"

#define ADV_COLLECTOR_NODES_MAX 256 /* connected at a time */

struct adv_collector_options {
	struct sockaddr_storage address;
	uint8_t key[ADV_ACCOUNT_KEY_BYTES];
	const struct adv_collected *known; /* as stored; copied */
	size_t nr_known;
};

struct adv_collector;

/* Listens and starts the thread. 0 or -errno with `reason`. */
int adv_collector_start(const struct adv_collector_options *options,
			struct adv_collector **collector, char *reason, size_t reason_size);

/* Looks once more, then ends every connection and the thread. What was collected can still be taken until adv_collector_destroy(). */
void adv_collector_stop(struct adv_collector *collector);
void adv_collector_destroy(struct adv_collector *collector);

/* Copies up to `max` rows that have changed since they were last taken; returns how many. */
size_t adv_collector_take(struct adv_collector *collector, struct adv_collected *rows, size_t max);

/* Row number `i` of all, in no order; false: there are no more. */
bool adv_collector_row(struct adv_collector *collector, size_t i, struct adv_collected *row);

unsigned adv_collector_connected(struct adv_collector *collector); /* nodes */

#endif
