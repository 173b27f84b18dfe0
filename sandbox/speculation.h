/*
 * speculation.h - switching off the speculation that a process can switch off for itself. Any thread; lasting.
 */
#ifndef ADVERB_SANDBOX_SPECULATION_H
#define ADVERB_SANDBOX_SPECULATION_H

#include <stdint.h>

/* What this machine lets a process switch off: enum adv_speculation, or-ed. */
uint32_t adv_speculation_controls(void);

/* Switches these off for the calling thread and all that it makes, for ever. 0 or -errno. */
int adv_speculation_restrict(uint32_t controls);

#endif
