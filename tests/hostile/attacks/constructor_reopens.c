/* constructor_reopens.c - opens what it was given anew by its procfs, to write, while that is there; against the filter, which lets no file be opened so. */
#include <fcntl.h>

#include "constructor.h"

CONSTRUCTOR
{
	(void)!openat(ADV_SANDBOX_FD_SELF_FD, "4", O_RDWR | O_CLOEXEC);
}

ATTACK
{
	return 0;
}
