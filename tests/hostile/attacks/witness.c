/* witness.c - no attack: the other lease, which must never notice one. It keeps a secret, and counts what it is asked. Runs in a sandbox. */
#include "attack.h"

static char secret[64];

EXPORTED uint32_t keep(const void *in, uint32_t in_size, void *out);
EXPORTED uint32_t secret_kept(const void *in, uint32_t in_size, void *out);

uint32_t keep(const void *in, uint32_t in_size, UNUSED void *out)
{
	memcpy(secret, in, in_size < sizeof(secret) ? in_size : sizeof(secret));
	return 0;
}

/* What it keeps, and how often it was asked. */
uint32_t secret_kept(UNUSED const void *in, UNUSED uint32_t in_size, void *out)
{
	static uint32_t asked;
	asked++;
	memcpy(out, secret, sizeof(secret));
	memcpy((char *)out + sizeof(secret), &asked, sizeof(asked));
	return sizeof(secret) + sizeof(asked);
}

ATTACK
{
	return 0;
}
