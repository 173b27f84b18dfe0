/*
 * launch.h - starts the warden from the node's process, before it has any thread.
 *
 * The warden is a program of its own inside the adverb binary (docs/design.md says why): it is executed from a sealed
 * memfd, so that sandboxes, which are cloned from it, hold none of the node's libraries, canaries, addresses or secrets.
 */
#ifndef ADVERB_SANDBOX_LAUNCH_H
#define ADVERB_SANDBOX_LAUNCH_H

#include <stddef.h>
#include <sys/types.h>

#include "sandbox/proto.h"

struct adv_warden_options {
	const char *
		config_file; /* absolute path or NULL; the warden reads it itself: root-owned, not writable by others, when it is root */
};

struct adv_warden {
	pid_t pid;
	int pidfd;
	int socket; /* SEQPACKET, O_CLOEXEC, blocking; the owner may set O_NONBLOCK */
	struct adv_warden_facts facts;
};

/*
 * Starts it and waits for its HELLO, at most 10 s. 0, or -errno with `reason` set to one sentence naming the step, the errno
 * and the sysctl or file at fault. On success the caller owns both descriptors. The calling process has one thread.
 */
int adv_warden_start(const struct adv_warden_options *options, struct adv_warden *warden,
		     char *reason, size_t reason_size);

/* Closes the socket, waits up to 2 s for the warden to have killed and reaped everything, then kills it. */
void adv_warden_stop(struct adv_warden *warden);

/* Drops the calling process to the uid and gid of the facts (when root), no groups, no capabilities, no_new_privs. 0 or -errno. */
int adv_privileges_drop(const struct adv_warden_facts *facts);

#endif
