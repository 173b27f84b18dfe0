/*
 * tenants.h - who may come by TCP: names, numbers, and the hashes of their tokens. Made at the start, then read-only; any thread.
 * A local client's tenant is its uid and needs no token.
 */
#ifndef ADVERB_CONTROL_TENANTS_H
#define ADVERB_CONTROL_TENANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/shares.h"
#include "util/limits.h"

#define ADV_TENANT_NOBODY     UINT32_MAX
#define ADV_TENANT_HASH_BYTES 32

struct adv_tenant {
	char name[ADV_NAME_MAX];
	uint32_t number; /* a uid, or from the name: above all uids that machines give */
	bool has_number;
	bool has_token;
	bool has_limits;
	struct adv_share_limits limits; /* its own, where it has some: else those of each */
	uint8_t token_sha256[ADV_TENANT_HASH_BYTES];
};

struct adv_tenants {
	struct adv_tenant list[ADV_TENANTS_MAX];
	unsigned nr;
	struct adv_share_limits each; /* of tenants without limits of their own: section [limits] */
};

/*
 * One line of the section [tenant NAME]: `token_sha256` (64 hexadecimal digits), `uid`, or a limit: `cores`, `memory`, `leases`, `rate` (leases
 * a second). 0, or -EINVAL with `reason`.
 */
int adv_tenants_set(struct adv_tenants *tenants, const char *name, const char *key,
		    const char *value, char *reason, size_t reason_size);

/* One line of the section [limits]: a limit of each tenant that has none of its own. 0, or -EINVAL with `reason`. */
int adv_tenants_limit(struct adv_tenants *tenants, const char *key, const char *value, char *reason,
		      size_t reason_size);

/* When all is read: gives numbers to those without a uid; refuses tenants without a token or a uid, and two with one number or one token. */
int adv_tenants_check(struct adv_tenants *tenants, char *reason, size_t reason_size);

/* The tenant whose token that is; all are looked at, in constant time. NULL: nobody's. */
const struct adv_tenant *adv_tenants_find(const struct adv_tenants *tenants, const char *token);

/* Its name, or NULL. */
const char *adv_tenants_name(const struct adv_tenants *tenants, uint32_t number);

#endif
