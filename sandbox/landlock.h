/*
 * landlock.h - denies a process the file system, TCP, abstract sockets and signals outside of it, as far as the kernel can.
 * The layouts are our own, since the headers of a build machine may be older than the kernel. Any single-threaded process.
 */
#ifndef ADVERB_SANDBOX_LANDLOCK_H
#define ADVERB_SANDBOX_LANDLOCK_H

#include <stdint.h>

/* The kernel's ABI version; 0 when it has no Landlock or it is switched off. */
uint32_t adv_landlock_abi(void);

/* Everything is denied but reading files below `readable` (NULL: nothing is left). no_new_privs is set. 0 or -errno. */
int adv_landlock_restrict(uint32_t abi, const char *readable);

#endif
