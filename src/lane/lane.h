/*
 * lane.h - the lane: shared memory between one caller and one worker; its layout, and the rules both sides keep.
 *
 * This header is the specification. caller.h and lane_worker.h are the two sides, supervisor.h is the node's.
 *
 * Three memfds hold all W lanes of a lease. All numbers are little-endian. P is the page size (4096), N the ring's
 * entries: the power of two not below four times the slots, at least 32; beyond 256 the one not below the slots.
 *
 *	req    page 0: header. Then for lane i, at P + i * req_stride:
 *	         +0    caller line    +64 arm line       +256  N request entries
 *	cpl    page 0: header. Then node lines, 64 bytes for each lane, in whole pages. Then for lane i at
 *	       cpl_lanes + i * cpl_stride:
 *	         +0    worker line    +128 progress line  +192 endings line  +256  N completion entries
 *	slots  page 0: header. Then for lane i, at P + i * slots_stride: the inputs of all slots, then their outputs; every
 *	       area starts on a page and fills whole pages.
 *
 * Who maps what: the caller maps req and slots read-write and cpl read-only. The worker maps its own lane of req
 * read-only, of cpl (not the node lines) and of slots read-write, every output with an unmapped page behind it, then
 * closes the descriptors. The node maps req read-only and cpl read-write. A wrong byte from the other side can cost a
 * side its calls, never its memory safety: entries are copied out once, slots masked, lengths bounded by the own copy of the geometry.
 * The geometry that counts is the one told by the node (in the JSON answer, in the worker's message); the header is
 * there so that a version that does not match is found before anything else is read.
 *
 * Publishing. A side fills an entry and stores `seq` last, with release. The other side polls the entry that comes next
 * and copies it out after an acquire load of the seq that it expects. Requests and completions are each numbered
 * consecutively within an epoch, entry number = seq & (N - 1). There is no shared head or tail: credits are the slots,
 * and come back with completions. A worker runs calls in the order of their entries and completes them in that order.
 *
 * Epochs. The node line's `generation` is (epoch << 32) | base: the worker of that epoch, and the caller while it speaks to it,
 * both count from `base`, for requests and for completions. When a worker has died the node, after it has reaped the
 * process, (1) writes a death record for that epoch, (2) picks a base that no entry in the request ring can be mistaken for
 * (above the highest sequence number in the ring, and above the old base, by 2 N + 1, modulo 2^32), (3) stores the new generation with release,
 * then wakes the caller. The replacement worker is told epoch and base when it starts, which may be later: calls may be
 * published at once. A reader accepts an entry when seq and epoch are both as expected. Since a sequence number is not used
 * twice for an entry within 2^31 publications, an entry of an old epoch is never mistaken, not even half-written.
 *
 * A caller that reads a new generation takes the completions of the old epoch that are there; then the oldest call
 * still outstanding ends with the death record's status, the others end as ADV_NOT_RUN: the worker ran calls in order
 * and is dead, and the entries of an old epoch are never run. When the death record is gone (more than
 * ADV_DEATH_RECORDS deaths since), the oldest ends as ADV_WORKER_LOST. It then counts from the new base.
 * A call that is published while the generation changes carries the old epoch and is dropped by the new worker; the
 * caller reads the generation again with each poll that finds nothing, and before it sleeps.
 *
 * Sleeping. `state` words live in the caller line and in the worker line. A side that has spun for its hot window stores
 * SLEEPING, issues a full fence, checks once more for what it waits for, and sleeps: a worker by FUTEX_WAIT (shared) on the
 * seq word of the entry it expects next, with the stale value it read there; a caller on the lease's eventfd. A publisher
 * stores seq, issues a full fence, reads the other's state, and only if that is SLEEPING wakes it: FUTEX_WAKE on the seq
 * word just written; one write to the eventfd. A worker may copy out the next request between its store and its fence, but
 * neither runs it nor spins before. The node wakes a caller (after a death, a revocation) without looking.
 *
 * Giving up. A caller whose call is past its budget sets ADV_ENTRY_CANCELLED in the published entry's flags and reports
 * ADV_TIMEOUT; the slot stays taken until the completion comes or the epoch changes. A call starts when the worker copies
 * its entry: one that carries the flag by then is completed as ADV_TIMEOUT without being run. So does one whose budget
 * has passed since the worker first could have seen it, give or take 10 us.
 *
 * Checked lanes. Entries of a verbs lane carry a checksum (entry_crc.h). A reader that finds the sequence number it expects behind
 * another checksum reads again, for ADV_LANE_TORN_NS; then the entry is bad: its call ends as ADV_BAD_ENTRY. A cancelled entry is
 * written anew, with its own checksum. On shared memory the field is 0 and nobody looks.
 *
 * The end. The node stores `ended` (a status) in the node line after the sandbox is dead and reaped: outstanding calls end with
 * that status. `revoking` comes first when there is a grace: the caller submits nothing more and finishes what is in flight.
 */
#ifndef ADVERB_LANE_LANE_H
#define ADVERB_LANE_LANE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "adverb/status.h"
#include "util/limits.h"

#define ADV_LANE_MAGIC UINT64_C(0x454e414c42564441) /* "ADVBLANE" */

/* Entry flags. */
#define ADV_ENTRY_CANCELLED 1u /* request: the caller has given up */
#define ADV_ENTRY_TIMED	    2u /* request: its completion is to say how long it ran */

/*
 * One request or completion. A payload of at most ADV_INLINE_MAX bytes always travels in `payload`, a larger one in the slot.
 * Pairs: seq release (publisher) with seq acquire (reader). flags, time and epoch are relaxed: the node looks at entries
 * that it does not own, and at flags the worker looks while the caller may change them.
 */
struct adv_entry {
	uint8_t payload[ADV_INLINE_MAX]; /* input or output of up to 32 bytes */
	uint64_t call_id;		 /* never reused */
	uint32_t length;		 /* bytes of input or output */
	_Atomic uint32_t
		time; /* request: budget in µs, 0 none; completion of a request that is ADV_ENTRY_TIMED, and on verbs lanes: execution in ns, saturating */
	uint16_t code; /* request: function; completion: enum adv_status */
	uint16_t slot;
	_Atomic uint16_t flags;
	_Atomic uint16_t epoch;
	uint32_t crc; /* CRC-32C of all but itself on verbs lanes; 0 on shared memory */
	_Atomic uint32_t seq;
} __attribute__((aligned(ADV_ENTRY_SIZE)));

static_assert(sizeof(struct adv_entry) == ADV_ENTRY_SIZE, "an entry is one cache line");
static_assert(offsetof(struct adv_entry, call_id) == 32, "layout");
static_assert(offsetof(struct adv_entry, length) == 40, "layout");
static_assert(offsetof(struct adv_entry, time) == 44, "layout");
static_assert(offsetof(struct adv_entry, code) == 48, "layout");
static_assert(offsetof(struct adv_entry, slot) == 50, "layout");
static_assert(offsetof(struct adv_entry, flags) == 52, "layout");
static_assert(offsetof(struct adv_entry, epoch) == 54, "layout");
static_assert(offsetof(struct adv_entry, crc) == 56, "layout");
static_assert(offsetof(struct adv_entry, seq) == 60, "seq is stored last and lies last");

enum adv_side_state {
	ADV_SIDE_STARTING = 0, /* worker: not serving yet; what is published will be served */
	ADV_SIDE_RUNNING = 1,  /* spinning or busy: needs no waking */
	ADV_SIDE_SLEEPING = 2, /* must be woken */
};

/* req, offset 0 of a lane. Written by the caller alone. */
struct adv_caller_line {
	_Atomic uint32_t state;
	uint32_t unused[15];
};

/*
 * req, offset ADV_LANE_ARM_OFFSET of a lane; verbs lanes alone. Written by the client from afar before it sleeps: what it has seen.
 * The poller reads it when the immediate that came behind it has come.
 */
struct adv_arm_line {
	_Atomic uint32_t seen_seq;   /* of the last completion that was taken */
	_Atomic uint32_t seen_state; /* of the node line: adv_lane_state() */
};

/* cpl, offset 0 of a lane. Written by the worker alone, rarely: callers read it after each publication. */
struct adv_worker_line {
	_Atomic uint32_t state;
	uint32_t unused[15];
};

/*
 * cpl, offset ADV_LANE_PROGRESS_OFFSET of a lane. Written by the worker for each call, read now and then by the node, never by the caller.
 * Hints: the node checks and clamps them.
 */
struct adv_progress_line {
	_Atomic uint64_t running;     /* (epoch << 32) | seq of the call being run; 0: none */
	_Atomic uint64_t calls;	      /* completed */
	_Atomic uint64_t failures;    /* of these, not ADV_OK */
	_Atomic uint64_t executed_ns; /* inside functions */
	_Atomic uint64_t polled_ns;   /* spinning without work */
	_Atomic uint64_t in_bytes, out_bytes;
	_Atomic uint64_t memory_hint; /* the worker saw an allocation fail: see ADV_OUT_OF_MEMORY */
};

/* cpl, offset ADV_LANE_ENDINGS_OFFSET of a lane. Written by the worker for calls that it ends otherwise than ADV_OK: the fewest. */
struct adv_endings_line {
	_Atomic uint32_t calls[ADV_ENDINGS]; /* by adv_ending_of() */
};

struct adv_death_record {
	uint16_t epoch;	 /* the epoch that ended */
	uint16_t status; /* why: enum adv_status */
	uint32_t detail; /* signal or exit status */
};

/* cpl, P + 64 * lane. Written by the node alone. The worker does not map it. */
struct adv_node_line {
	_Atomic uint64_t generation; /* (epoch << 32) | base; epoch counts from 1 */
	_Atomic uint32_t ended;	     /* enum adv_status; ADV_OK while the lease lives */
	_Atomic uint32_t revoking;   /* 1: submit nothing more */
	_Atomic uint64_t deaths
		[ADV_DEATH_RECORDS]; /* struct adv_death_record packed; that of epoch e at e mod 4 */
	uint64_t unused[2];
};

static_assert(sizeof(struct adv_caller_line) == ADV_CACHE_LINE, "one writer per cache line");
static_assert(sizeof(struct adv_worker_line) == ADV_CACHE_LINE, "one writer per cache line");
static_assert(sizeof(struct adv_progress_line) == ADV_CACHE_LINE, "one writer per cache line");
static_assert(sizeof(struct adv_node_line) == ADV_CACHE_LINE, "one writer per cache line");
static_assert(sizeof(struct adv_endings_line) == ADV_CACHE_LINE, "one writer per cache line");

/* Lines are fetched in pairs of 128 bytes: what the worker writes at each call shares none with what the caller reads. */
#define ADV_LANE_PROGRESS_OFFSET 128 /* in a lane's part of cpl */
#define ADV_LANE_ENDINGS_OFFSET	 192 /* the same */
#define ADV_LANE_ARM_OFFSET	 64  /* in a lane's part of req */
#define ADV_LANE_RING_OFFSET	 256 /* of the entries in a lane's part of req and of cpl */

/* The entries of a ring: at least so many, and no more than so many where the slots are fewer. */
#define ADV_RING_LEAST UINT32_C(32)
#define ADV_RING_ROOMY UINT32_C(256)

/* A torn entry is read again for so long: on verbs lanes the checksum tells. */
#define ADV_LANE_TORN_NS UINT64_C(1000000)

/* Which of the three memfds. */
enum adv_lane_file {
	ADV_LANE_REQ,
	ADV_LANE_CPL,
	ADV_LANE_SLOTS,
	ADV_LANE_FILES,
};

/* Offset 0 of each memfd. Written by the node before anyone else has it. */
struct adv_lane_header {
	uint64_t magic;
	uint32_t version;
	uint32_t file; /* enum adv_lane_file */
	uint32_t nr_lanes;
	uint32_t nr_slots;   /* of each lane */
	uint32_t nr_entries; /* of each ring */
	uint32_t in_capacity;
	uint32_t out_capacity;
	uint32_t unused; /* 0 */
};

/* Shape of all lanes of one lease. Derived once, by adv_geometry_init(), from four numbers; then read-only. */
struct adv_geometry {
	uint32_t nr_lanes;
	uint32_t nr_slots;
	uint32_t nr_entries;   /* N, a power of two */
	uint32_t in_capacity;  /* whole pages */
	uint32_t out_capacity; /* whole pages */
	uint64_t req_stride, cpl_lanes, cpl_stride, slots_stride;
	uint64_t size[ADV_LANE_FILES]; /* bytes of each memfd */
};

/*
 * Checks the numbers against limits.h and derives the rest; capacities are rounded up to whole pages.
 * -EINVAL: zero or above a limit; -EFBIG: all slots together exceed ADV_LANE_BYTES_MAX. `g` is untouched then.
 */
int adv_geometry_init(struct adv_geometry *g, uint32_t nr_lanes, uint32_t nr_slots,
		      uint64_t in_capacity, uint64_t out_capacity);

/* Offsets into the memfds; `lane` and `slot` must be within the geometry. */
static inline uint64_t adv_geometry_req(const struct adv_geometry *g, uint32_t lane)
{
	return ADV_PAGE + g->req_stride * lane;
}

static inline uint64_t adv_geometry_node_line(const struct adv_geometry *g, uint32_t lane)
{
	(void)g;
	return ADV_PAGE + sizeof(struct adv_node_line) * (uint64_t)lane;
}

static inline uint64_t adv_geometry_cpl(const struct adv_geometry *g, uint32_t lane)
{
	return g->cpl_lanes + g->cpl_stride * lane;
}

static inline uint64_t adv_geometry_in(const struct adv_geometry *g, uint32_t lane, uint32_t slot)
{
	return ADV_PAGE + g->slots_stride * lane + (uint64_t)g->in_capacity * slot;
}

static inline uint64_t adv_geometry_out(const struct adv_geometry *g, uint32_t lane, uint32_t slot)
{
	return adv_geometry_in(g, lane, g->nr_slots) + (uint64_t)g->out_capacity * slot;
}

void adv_lane_header_write(void *page, const struct adv_geometry *g, enum adv_lane_file file);

/* 0; -EPROTO: not a lane of that kind, or another geometry; -EPROTONOSUPPORT: another version. */
int adv_lane_header_check(const void *page, const struct adv_geometry *g, enum adv_lane_file file);

static inline uint64_t adv_generation(uint16_t epoch, uint32_t base)
{
	return (uint64_t)epoch << 32 | base;
}

/* What a client must know of a node line to sleep: everything in it that wakes. */
static inline uint32_t adv_lane_state(uint64_t generation, uint32_t revoking, uint32_t ended)
{
	return (uint32_t)(generation >> 32 & 0xffff) | (revoking != 0) << 16 |
	       (ended & 0x7fff) << 17;
}

static inline uint16_t adv_generation_epoch(uint64_t generation)
{
	return (uint16_t)(generation >> 32);
}

static inline uint32_t adv_generation_base(uint64_t generation)
{
	return (uint32_t)generation;
}

/* Copies 1 to ADV_INLINE_MAX bytes: pieces that overlap, without a call of memcpy(). */
static inline void adv_copy_small(void *to, const void *from, uint32_t size)
{
	uint8_t *t = to;
	const uint8_t *f = from;
	if (size >= 16) {
		uint8_t first[16], last[16];
		memcpy(first, f, 16);
		memcpy(last, f + size - 16, 16);
		memcpy(t, first, 16);
		memcpy(t + size - 16, last, 16);
	} else if (size >= 8) {
		uint64_t first, last;
		memcpy(&first, f, 8);
		memcpy(&last, f + size - 8, 8);
		memcpy(t, &first, 8);
		memcpy(t + size - 8, &last, 8);
	} else {
		for (uint32_t i = 0; i < size; i++)
			t[i] = f[i];
	}
}

/* Tells the core that it spins. */
static inline void adv_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Asks for an entry's line ahead of writing it: two entries on, where the other side is not looking yet. */
static inline void adv_prefetch_ahead(const struct adv_entry *ring, uint32_t seq, uint32_t mask)
{
	if (mask < 3)
		return;
	const struct adv_entry *e = &ring[(seq + 2) & mask];
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0"
			 :
			 : "m"(*e)); /* the builtin is a prefetch for reading here */
#else
	__builtin_prefetch(e, 1);
#endif
}

#endif
