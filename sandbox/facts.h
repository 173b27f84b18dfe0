/*
 * facts.h - what the warden's facts mean to whoever trusts this machine: which walls are lower than they could be, and what to do.
 * Pure functions, static texts; any thread.
 */
#ifndef ADVERB_SANDBOX_FACTS_H
#define ADVERB_SANDBOX_FACTS_H

#include <stdbool.h>
#include <stddef.h>

#include "sandbox/proto.h"

/* One thing that a machine may give sandboxes or not. */
struct adv_wall {
	const char *name; /* "memory limit" */
	const char *good; /* what it is where the machine gives it */
	const char *weak; /* what there is instead */
	const char *remedy;
	bool (*stands)(const struct adv_warden_facts *facts);
};

/* By number from 0; NULL at the end. */
const struct adv_wall *adv_wall_at(size_t index);

/* "on", "off", "one thread a core", "missing". */
const char *adv_core_scheduling_name(uint32_t core_scheduling);

#endif
