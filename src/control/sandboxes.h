/*
 * sandboxes.h - the control thread's hands on the warden: carries out what the pool decides, hands sandboxes to their
 * claims, and tells a claim what its sandbox reports and how it died. Control thread only; nothing here blocks.
 */
#ifndef ADVERB_CONTROL_SANDBOXES_H
#define ADVERB_CONTROL_SANDBOXES_H

#include "control/loop.h"
#include "registry/registry.h"
#include "sandbox/launch.h"
#include "sandbox/pool.h"

struct adv_sandboxes;

#define ADV_NO_SANDBOX UINT32_MAX

/* One sandbox in the hands of a lease's lane or of a deploy. The storage is the owner's. */
struct adv_claim {
	uint32_t id; /* ADV_NO_SANDBOX: none */
	enum adv_pool_hit hit;
	uint64_t lease; /* that has further workers; 0: none. The owner sets it before its order */
	uint64_t
		core_group; /* whose sandboxes may share a core at a time; 0: nobody's. The owner sets it before its order */
	uint32_t tenant; /* whose lines its function's are; the owner sets it before it claims */
	/* A report that passed the checks. May be NULL when the owner does not care. */
	void (*reported)(struct adv_claim *claim, const struct adv_sandbox_report *report);
	/*
	 * The sandbox is dead and reaped (or could not be built: then `reason` says why and the death is all zero). The claim holds
	 * nothing any more; it may be used for the next one inside. `reason` is otherwise NULL, or what the sandbox said before it died.
	 */
	void (*died)(struct adv_claim *claim, const struct adv_death *death, const char *reason);
	void *user;
};

struct adv_sandboxes_options {
	struct adv_loop *loop;
	struct adv_warden *warden;
	struct adv_pool_options pool;
	int cpu; /* where the warden stays, and sandboxes until they serve; -1: anywhere */
	void (*warden_gone)(
		void *user); /* the node must end: there is nobody to make or kill sandboxes */
	/* A function's line, its characters made harmless. NULL module: a deploy's, not known yet. */
	void (*printed)(void *user, const struct adv_module *module, uint32_t tenant,
			uint32_t sandbox, const char *text);
	/* Processor time that a module used in a sandbox before a lease had it. May be NULL. */
	void (*spent)(void *user, const struct adv_module *module, uint64_t cpu_ns);
	int (*next_cpu)(
		void *user,
		uint32_t tenant); /* where this tenant's next worker would sit; -1: not known */
	void *user;
};

int adv_sandboxes_create(const struct adv_sandboxes_options *options,
			 struct adv_sandboxes **sandboxes);
void adv_sandboxes_destroy(struct adv_sandboxes *sandboxes); /* the warden kills what is left */

/*
 * Claims a sandbox; it is usable at once: an order to one that is still being built waits in its socket. `module` is NULL
 * for a scratch sandbox with `profile`. ADV_OK or ADV_NO_CAPACITY.
 */
enum adv_status adv_sandboxes_claim(struct adv_sandboxes *sandboxes,
				    const struct adv_module *module, uint32_t profile,
				    struct adv_claim *claim);

/* Pins it to `cpu` (-1: not), limits its memory (0: not), and hands it the order with copies of the descriptors. 0, -ENOMEM, -EMFILE. */
int adv_sandboxes_order(struct adv_sandboxes *sandboxes, const struct adv_claim *claim, int cpu,
			uint64_t memory_bytes, const struct adv_sandbox_order *order,
			const int *fds, unsigned nr_fds);

/* `died` follows. Ignored when it is dying already. */
void adv_sandboxes_kill(struct adv_sandboxes *sandboxes, struct adv_claim *claim);

/* The module was deployed or leased: keep hot sandboxes for it. Takes a reference for as long as it does. */
void adv_sandboxes_module_used(struct adv_sandboxes *sandboxes, struct adv_module *module);
void adv_sandboxes_module_gone(struct adv_sandboxes *sandboxes, struct adv_module *module);

void adv_sandboxes_stats(const struct adv_sandboxes *sandboxes, struct adv_pool_stats *stats);

#endif
