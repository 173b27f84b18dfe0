/*
 * endings.h - how calls end that do not end well, as they are counted: a small number for each status that a call of a worker can end with. Bills and the
 * database keep these numbers: none is used for anything else, and new ones are added at the end. Any thread; no state.
 */
#ifndef ADVERB_LANE_ENDINGS_H
#define ADVERB_LANE_ENDINGS_H

#include <assert.h>
#include <stddef.h>

#include "adverb/status.h"
#include "util/limits.h"

#define ADV_ENDING_BUSY	      13
#define ADV_ENDING_LEASE_OVER 14 /* its lease ended before it did */

static_assert((int)ADV_LOAD_FAILED + 1 == ADV_ENDING_BUSY, "those before are statuses");
static_assert(ADV_ENDING_LEASE_OVER < ADV_ENDINGS, "there is room");

/* Of a call that is over. ADV_OK is none: 0. */
static inline unsigned adv_ending_of(enum adv_status status)
{
	if (status <= ADV_LOAD_FAILED)
		return status;
	return status == ADV_BUSY ? ADV_ENDING_BUSY : ADV_ENDING_LEASE_OVER;
}

/* "crashed", "busy", "lease_over"; NULL: no call ends so. */
static inline const char *adv_ending_name(unsigned ending)
{
	if (ending == 0 || ending > ADV_ENDING_LEASE_OVER)
		return NULL;
	if (ending == ADV_ENDING_LEASE_OVER)
		return "lease_over";
	return adv_status_name(ending == ADV_ENDING_BUSY ? ADV_BUSY : (enum adv_status)ending);
}

#endif
