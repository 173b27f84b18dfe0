/* futex.h - waiting on a word of memory that processes share. Any thread; libc has no wrapper for it. */
#ifndef ADVERB_UTIL_FUTEX_H
#define ADVERB_UTIL_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while *word == expected; `timeout` is relative or NULL. Returns for any reason: the caller looks again. */
static inline void adv_futex_wait(const _Atomic uint32_t *word, uint32_t expected,
				  const struct timespec *timeout)
{
	syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout, NULL, 0);
}

static inline void adv_futex_wake(const _Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

#endif
