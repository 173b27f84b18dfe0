/*
 * ledger.h - what each tenant has used: exact integer sums by tenant and module. Counts only: no I/O, no clock of its own.
 * Owned by the control thread; the registry's thread stores what adv_ledger_take_dirty() hands it.
 *
 * The node's clock and the kernel's CPU accounting are the truth. What a worker says only splits the time that it was
 * leased into execution and polling, and is clamped to it.
 */
#ifndef ADVERB_ALLOCATOR_LEDGER_H
#define ADVERB_ALLOCATOR_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/limits.h"

struct adv_ledger_line {
	uint32_t tenant;
	char module[2 * ADV_NAME_MAX]; /* owner/name */
	uint64_t leases;
	uint64_t allocated_core_us; /* lease time × workers */
	uint64_t allocated_mib_ms;  /* lease time × memory of all workers */
	uint64_t executed_us;	    /* inside functions */
	uint64_t polled_us;	    /* spinning without work */
	uint64_t cpu_us;	    /* the kernel's figure for the sandboxes, by reaping */
	uint64_t calls, failures, bytes;
	uint64_t ended[ADV_ENDINGS]; /* of the failures: how many ended so, by lane/endings.h */
};

/* One lease's part of it: written each second while it lives, and at its end. */
struct adv_bill {
	char run[32];	/* the node's start: lease numbers begin anew with each */
	uint64_t lease; /* its number */
	uint32_t workers;
	uint64_t memory_bytes; /* for each worker */
	int64_t began_ms,
		seen_ms; /* wall clock, since 1970: its grant, and up to when it is counted */
	struct adv_ledger_line used;
};

/* What things cost, in millionths of the currency. */
struct adv_prices {
	char currency[16];
	uint64_t core_hour;	/* a core that is leased */
	uint64_t gib_hour;	/* memory that is reserved */
	uint64_t executed_hour; /* inside functions */
	uint64_t polled_hour;	/* spinning without work */
	uint64_t million_calls;
	uint64_t gib; /* in and out */
};

/* Of one line, rounded down, in millionths of the currency; saturates. Exact otherwise: no floating point is near it. */
uint64_t adv_prices_cost(const struct adv_prices *prices, const struct adv_ledger_line *line);

/* Adds the figures of `delta` to those of `to`, with saturation. Names are left alone. */
void adv_ledger_sum(struct adv_ledger_line *to, const struct adv_ledger_line *delta);

/* ---- between nodes ---- */

#define ADV_ACCOUNT_NODE_BYTES 16

enum adv_account_sum {
	ADV_ACCOUNT_CORE_US,
	ADV_ACCOUNT_MIB_MS,
	ADV_ACCOUNT_EXECUTED_US,
	ADV_ACCOUNT_POLLED_US,
	ADV_ACCOUNT_CALLS,
	ADV_ACCOUNT_BYTES,
	ADV_ACCOUNT_SUMS,
};

/* What one tenant has used on one node, as accounting nodes hear of it. */
struct adv_account {
	uint32_t tenant;
	uint64_t sums[ADV_ACCOUNT_SUMS];
};

/* What an accounting node knows of a tenant on a node, one for each way of telling: what was written is never added to what was added. */
struct adv_collected {
	char node[2 * ADV_ACCOUNT_NODE_BYTES + 1];
	uint32_t tenant; /* ADV_COLLECTED_NODE: of the node itself, without sums */
	bool adds;
	uint64_t counter; /* of the node itself: of its last connection */
	int64_t seen_ms;  /* wall clock: when it last changed */
	uint64_t sums[ADV_ACCOUNT_SUMS];
};
#define ADV_COLLECTED_NODE UINT32_MAX

/* Sums by tenant of all its modules, in a stable order; returns how many tenants there are, or more than `max`: then the others are left out. */
struct adv_ledger;
size_t adv_ledger_accounts(const struct adv_ledger *ledger, struct adv_account *accounts,
			   size_t max);

/* ---- the ledger ---- */

int adv_ledger_create(struct adv_ledger **ledger);
void adv_ledger_destroy(struct adv_ledger *ledger);

/* Adds `delta`'s figures to the line of its tenant and module, with saturation. 0 or -ENOMEM. */
int adv_ledger_add(struct adv_ledger *ledger, const struct adv_ledger_line *delta);

/* As read from the registry at start: sets the line without marking it dirty. */
int adv_ledger_restore(struct adv_ledger *ledger, const struct adv_ledger_line *line);

/* Copies up to `max` changed lines (absolute totals) and marks them clean; returns how many. */
size_t adv_ledger_take_dirty(struct adv_ledger *ledger, struct adv_ledger_line *lines, size_t max);

/* Walks all lines: index from 0; NULL at the end. */
const struct adv_ledger_line *adv_ledger_at(const struct adv_ledger *ledger, size_t index);

/* Adds without overflow (saturates), as every sum here is added. */
void adv_ledger_increase(uint64_t *to, uint64_t n);

/* Time × amount without overflow (saturates). */
uint64_t adv_ledger_product(uint64_t a, uint64_t b);

#endif
