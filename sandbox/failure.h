/*
 * failure.h - one sentence on what went wrong, and its errno: how the warden and a sandbox hand an error up.
 * Any thread. Never allocates.
 */
#ifndef ADVERB_SANDBOX_FAILURE_H
#define ADVERB_SANDBOX_FAILURE_H

#include "util/limits.h"

struct adv_failure {
	int error; /* errno */
	char text[ADV_REASON_MAX];
};

/*
 * Fills in "WHAT: errno's text" and, when there is one, "; HINT": what the operator or the user is to do.
 * `error` may be 0: then there is no errno's text. Returns -error, or -EINVAL when that is 0.
 */
int adv_failure_set(struct adv_failure *failure, int error, const char *hint, const char *format,
		    ...) __attribute__((format(printf, 4, 5)));

#endif
