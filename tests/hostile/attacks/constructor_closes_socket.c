/* constructor_closes_socket.c - closes the socket that orders come by; against a node that waits for ever. */
#include "constructor.h"

CONSTRUCTOR
{
	close(ADV_SANDBOX_FD_SOCKET);
}

ATTACK
{
	return 0;
}
