/* raise_handled.c - sends itself the signals that the worker handles; against a death that says nothing of its cause. */
#include <signal.h>

#include "attack.h"

ATTACK
{
	static const int numbers[] = {SIGSEGV, SIGBUS};
	raise(numbers[argument(in, in_size, 0) & 1]);
	return 0;
}
