/* canaries.c - reads its stack canary, its ids and its environment; what one sandbox leaks must not help against others. */
#include "attack.h"

ATTACK
{
	uint64_t canary = 0;
#if defined(__x86_64__)
	__asm__("movq %%fs:0x28, %0" : "=r"(canary));
#endif
	uint32_t size = saw(out, 0, (long)canary);
	size = saw(out, size, getuid());
	size = saw(out, size, getpid());
	size = saw(out, size, getppid());
	size = saw(out, size, environ == NULL || environ[0] == NULL);
	return size;
}
