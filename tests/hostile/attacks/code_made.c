/* code_made.c - memory that is writable and executable at once, in every way; against the filter. */
#include <sys/mman.h>

#include "attack.h"

#define RWX (PROT_READ | PROT_WRITE | PROT_EXEC)

ATTACK
{
	char *stack = (char *)((uintptr_t)__builtin_frame_address(0) & ~UINT64_C(4095));
	char *code = (char *)((uintptr_t)attack & ~UINT64_C(4095));
	switch (argument(in, in_size, 0)) {
	case 0:
		return saw(out, 0, outcome(mprotect(stack, 4096, RWX)));
	case 1:
		return saw(out, 0, outcome(mprotect(code, 4096, RWX)));
	case 2:
		return saw(out, 0, outcome(mprotect(out, 4096, RWX)));
	case 3:
		return saw(out, 0, outcome(syscall(SYS_pkey_mprotect, code, 4096, RWX, -1)));
	case 4:
		return saw(out, 0, outcome(syscall(SYS_pkey_alloc, 0, 0)));
	default:
		return saw(
			out, 0,
			outcome((long)mmap(NULL, 4096, RWX, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
	}
}
