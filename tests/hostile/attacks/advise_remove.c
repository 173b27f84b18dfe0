/* advise_remove.c - takes pages out of its lane by advice, or poisons them; a caller that then reads would fault. Against the filter. */
#include <sys/mman.h>

#include "attack.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

ATTACK
{
	static const int advices[] = {MADV_REMOVE,   MADV_HWPOISON,	   101 /* soft offline */,
				      MADV_PAGEOUT,  MADV_DONTNEED_LOCKED, MADV_WIPEONFORK,
				      MADV_MERGEABLE};
	uint32_t form = argument(in, in_size, 0);
	if (form >= sizeof(advices) / sizeof(advices[0]))
		return saw(out, 0, NO_SUCH_FORM);
	return saw(out, 0, outcome(madvise(out, 4096, advices[form])));
}
