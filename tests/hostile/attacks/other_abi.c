/* other_abi.c - system calls of another architecture, whose numbers mean something else: int 0x80 and x32; against the filter's check of it. */
#include "attack.h"

ATTACK
{
#if defined(__x86_64__)
	long result = 20; /* getpid there; writev here */
	if (argument(in, in_size, 0) == 1)
		return saw(out, 0, outcome(syscall(0x40000000L | SYS_getpid)));
	__asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
	return saw(out, 0, result);
#else
	return saw(out, 0, outcome(syscall(100000)));
#endif
}
