/* destructor.c - attacks as its process ends, when one may think that it is over; the filter holds until the last instruction. */
#include <sys/socket.h>

#include "attack.h"

__attribute__((destructor)) static void destruct(void)
{
	socket(AF_INET, SOCK_STREAM, 0);
}

ATTACK
{
	exit(0);
}
