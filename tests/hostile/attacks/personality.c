/* personality.c - asks for readable memory to be executable and addresses not to be random; against the filter. */
#include <sys/personality.h>

#include "attack.h"

ATTACK_BY_CALLS({SYS_personality, {READ_IMPLIES_EXEC}}, {SYS_personality, {ADDR_NO_RANDOMIZE}},
		{SYS_personality, {0xffffffff}})
