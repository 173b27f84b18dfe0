/* constructor_opens_socket.c - the network, before the first call; constructors run as confined as functions. */
#include "constructor.h"

CONSTRUCTOR
{
	socket(AF_INET, SOCK_STREAM, 0);
}

ATTACK
{
	return 0;
}
