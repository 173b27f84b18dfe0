/* sockets.c - a way to the network or to another process: of every family; against the filter, the empty network namespace behind it. */
#include <sys/socket.h>

#include "attack.h"

ATTACK
{
	int pair[2];
	const struct {
		int family, type;
	} kinds[] = {{AF_INET, SOCK_STREAM},  {AF_INET, SOCK_DGRAM},	{AF_INET6, SOCK_STREAM},
		     {AF_UNIX, SOCK_STREAM},  {AF_NETLINK, SOCK_RAW},	{AF_PACKET, SOCK_RAW},
		     {AF_VSOCK, SOCK_STREAM}, {AF_ALG, SOCK_SEQPACKET}, {AF_INET, SOCK_RAW}};
	uint32_t form = argument(in, in_size, 0);
	if (form < sizeof(kinds) / sizeof(kinds[0]))
		return saw(out, 0, outcome(socket(kinds[form].family, kinds[form].type, 0)));
	return saw(out, 0, outcome(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)));
}
