/*
 * module.h - a tenant's module in the sandbox's process: loads it and finds its functions.
 * Runs in the sandbox, confined; what a module gets wrong costs this process alone.
 */
#ifndef ADVERB_SANDBOX_MODULE_H
#define ADVERB_SANDBOX_MODULE_H

#include <stdbool.h>
#include <stdint.h>

#include "adverb/function.h"
#include "sandbox/failure.h"
#include "sandbox/proto.h"
#include "util/limits.h"

typedef uint32_t (*adv_classic_fn)(void *in, uint32_t in_size, void *out);

struct adv_loaded_function {
	union {
		adv_classic_fn classic;
		adv_function_fn described;
		void *address;
	} run;
	const char *name;	 /* in the module */
	const char *description; /* in the module; NULL for a classic function */
};

struct adv_loaded {
	bool described;		/* all functions are adv_function tables; else all are classic */
	enum adv_profile needs; /* the profile that its imports ask for */
	const char *needs_why;	/* the import that does, in the module; "" */
	uint32_t nr_functions;
	struct adv_loaded_function functions[ADV_FUNCTIONS_MAX]; /* sorted by name */
};

/*
 * Loads the module of descriptor `fd`, whose constructors run, and lists its functions. The current directory must be the
 * process's own /proc/self/fd. 0, or -EINVAL with `failure` set to what is wrong with the module.
 */
int adv_module_load(struct adv_loaded *module, int fd, struct adv_failure *failure);

#endif
