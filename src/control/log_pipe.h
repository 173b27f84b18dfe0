/*
 * log_pipe.h - the pipe that a sandbox's standard output and error end in: its bytes made into lines, and not too many of them.
 * Control thread only; nothing here blocks. The storage is the owner's and must outlive the loop's hold on the watch.
 */
#ifndef ADVERB_CONTROL_LOG_PIPE_H
#define ADVERB_CONTROL_LOG_PIPE_H

#include <stdint.h>

#include "control/loop.h"
#include "util/limits.h"

struct adv_log_pipe {
	int fd; /* -1: closed, or never opened */
	struct adv_watch watch;
	uint64_t
		allowed_ns; /* token bucket: when the next line would have its turn at the steady rate */
	uint32_t dropped; /* lines since the last one that was told */
	size_t fill;
	char bytes[ADV_LOG_LINE_BYTES];
	/* Without control characters; valid until it returns. */
	void (*line)(void *user, const char *text);
	void *user;
};

/* Nothing is open. */
void adv_log_pipe_init(struct adv_log_pipe *p, void (*line)(void *user, const char *text),
		       void *user);

/* Takes the descriptor and reads it as bytes come. */
void adv_log_pipe_start(struct adv_log_pipe *p, struct adv_loop *loop, int fd);

/* Its writer is dead: takes what is left, the last line without an end too, and tells how many were dropped. */
void adv_log_pipe_finish(struct adv_log_pipe *p);

void adv_log_pipe_close(struct adv_log_pipe *p);

#endif
