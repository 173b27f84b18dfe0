/* constructor_never_ends.c - loops as it is loaded at deploy; against the bound of a scratch load. */
#include "constructor.h"

CONSTRUCTOR
{
	for (uintptr_t i = 0;; i = hidden(i + 1))
		;
}

ATTACK
{
	return 0;
}
