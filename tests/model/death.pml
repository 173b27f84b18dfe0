/*
 * death.pml - a lane whose worker dies at any step and is replaced: epochs, base numbers, what becomes of the calls.
 * A caller, the worker (one after the other), the supervisor. Sequentially consistent memory: what the fences are for is
 * proved by sleep.pml. Entries are written and read in several steps, so that a half-written one can be seen.
 *
 * Proves: every call ends exactly once; a function runs at most once; it does not run when its call ended as not run, before
 * or after; a completed call has run; no half-written entry is taken; the caller never waits for a worker that is dead
 * (that would be a deadlock: an invalid end state). Calls that the caller gives up and the end of the lane are part of it.
 *
 * Numbers are not wrapped. There is one place for death records, so that one is overwritten by the second death.
 *
 * Mutants, each of which must be found guilty:
 *	MUTANT_OLD_EPOCH         the worker takes entries of any epoch, and the new base is next to the highest number
 *	MUTANT_SAME_BASE         the new epoch counts from the old base
 *	MUTANT_SHORT_BASE        the new base does not leave room for what a caller that has not heard of the death publishes
 *	MUTANT_RING_ALONE        the new base is above the numbers in the ring, but perhaps not above the present base
 *	MUTANT_BUMP_FIRST        the generation is stored before the worker is reaped
 *	MUTANT_NO_DEATH_WAKE     nobody writes the eventfd after a death
 *	MUTANT_WAKE_FIRST        the eventfd is written before the generation is stored
 *	MUTANT_NO_LAST_TAKE      wind_up() does not look for completions once more
 *	MUTANT_NO_BLAME          wind_up() ends the oldest call as not run, too
 *	MUTANT_ADOPT_BUSY        adv_caller_submit() adopts a new generation although calls are outstanding
 *	MUTANT_SEQ_FIRST         adv_caller_submit() stores seq before the rest of the entry
 *	MUTANT_COMPLETE_SEQ_FIRST  publish() does
 *	MUTANT_NO_RECHECK        adv_caller_sleep() does not re-check
 *	MUTANT_NO_RECHECK_EPOCH  is_over() does not look at the generation: only completions count
 *	MUTANT_FREE_EXPIRED      adv_caller_expire() frees the slot at once
 *	MUTANT_END_FIRST         the end of the lane is stored before the worker is reaped
 */
#ifndef CALLS
#define CALLS 3
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define N 2 /* entries, and slots */

/* How a call ended. */
#define OPEN	0
#define DONE	1 /* completed by its worker */
#define NOT_RUN 2 /* ADV_NOT_RUN */
#define BLAMED	3 /* the death record's status, or ADV_WORKER_LOST */
#define TIMEOUT 4 /* given up by the caller */
#define ENDED	5 /* the lane's end */

/* Shared memory. */
byte req_seq[N], req_epoch[N], req_id[N];
bool req_cancelled[N];
byte cpl_seq[N], cpl_epoch[N], cpl_id[N];
bool caller_sleeping;
byte generation = 1;	  /* its epoch */
byte base_of[DEATHS + 2]; /* its other half: written before, never changed */
byte record_epoch;	  /* the only death record */
bool ended;
bool event; /* the eventfd is readable */

/* The worker's process. */
bool started, killed, reaped;
byte worker_epoch;

/* What is checked. Call ids are 1 to CALLS. */
byte state[CALLS + 1];	  /* how it ended */
bool ran[CALLS + 1];
bool answered[CALLS + 1]; /* without a run, as it was cancelled */
byte seq_of[CALLS + 1], epoch_of[CALLS + 1];

/* ---- src/lane/caller.c ---- */

#define OUTSTANDING     (call_out[0] || call_out[1])
#define CPL	        (completion_seq % N)
#define CALLER_ARRIVED (cpl_seq[CPL] == completion_seq && cpl_epoch[CPL] == my_epoch)

inline check_end(id, how)
{
	assert(state[id] == OPEN);
	assert(how != NOT_RUN || !ran[id]);
	assert(how != DONE || ran[id]);
	state[id] = how
}

/* end_call() */
inline end_call(slot, how)
{
	d_step {
		assert(call_out[slot]);
		call_out[slot] = false;
		if
		:: call_abandoned[slot] -> assert(state[call_id[slot]] == TIMEOUT)
		:: else -> check_end(call_id[slot], how)
		fi;
		call_abandoned[slot] = false;
		call_id[slot] = 0;
		call_seq[slot] = 0
	}
}

/* adopt() */
inline adopt(g)
{
	d_step {
		my_epoch = g;
		request_seq = base_of[g];
		completion_seq = base_of[g];
		winding_up = false;
		blamed = false
	}
}

/* fill(), and the store of seq */
inline fill_and_publish(slot, id)
{
	d_step {
		call_id[slot] = id;
		call_seq[slot] = request_seq;
		call_out[slot] = true;
		seq_of[id] = request_seq;
		epoch_of[id] = g;
		at = request_seq % N;
		request_seq++
	};
#if defined(MUTANT_SEQ_FIRST)
	req_seq[at] = seq_of[id];
#endif
	if /* plain stores: in any order */
	:: req_id[at] = id; req_epoch[at] = g
	:: req_epoch[at] = g; req_id[at] = id
	fi;
	req_cancelled[at] = false;
#if !defined(MUTANT_SEQ_FIRST)
	req_seq[at] = seq_of[id];
#endif
	at = 0
}

/* adv_caller_submit(); ADV_BUSY: nothing is submitted */
inline submit(slot)
{
	if
	:: ended -> closed = true
	:: else ->
		g = generation;
		if
#if defined(MUTANT_ADOPT_BUSY)
		:: g != my_epoch -> adopt(g)
#else
		:: g != my_epoch && !OUTSTANDING -> adopt(g)
#endif
		:: else
		fi;
		if
		:: g == my_epoch -> fill_and_publish(slot, next); next++
		:: else
		fi;
		g = 0
	fi
}

/* take(), take_one(): one completion, if it is there. The seq first, then the rest. */
inline take()
{
	taken = false;
	if
	:: cpl_seq[CPL] == completion_seq ->
		if
		:: d_step { cpl_epoch[CPL] == my_epoch -> got = cpl_id[CPL]; completion_seq++ };
			if
			:: call_out[0] && call_id[0] == got -> end_call(0, (answered[got] -> TIMEOUT : DONE))
			:: call_out[1] && call_id[1] == got -> end_call(1, (answered[got] -> TIMEOUT : DONE))
			:: else /* not a call that it was given */
			fi;
			taken = true;
			got = 0
		:: else
		fi
	:: else
	fi
}

/* oldest(): of the slots that are taken */
#define OLDER_0 (call_out[0] && (!call_out[1] || call_seq[0] < call_seq[1]))

/* wind_up(), after its take(): one call of a dead worker; `told` when somebody waited for it */
inline blame_oldest()
{
	d_step {
		oldest = (OLDER_0 -> 0 : 1);
		/* death_of(): a record that is gone is ADV_WORKER_LOST, which blames as well */
		how = (over -> ENDED : (blamed -> NOT_RUN : BLAMED));
#if defined(MUTANT_NO_BLAME)
		how = (over -> ENDED : NOT_RUN);
#endif
		blamed = true;
		told = !call_abandoned[oldest]
	};
	end_call(oldest, how);
	oldest = 0;
	how = 0
}

/* is_over() */
inline is_over()
{
	over = false;
	if
	:: winding_up
#if !defined(MUTANT_NO_RECHECK_EPOCH)
	:: !winding_up && generation != my_epoch -> winding_up = true
#endif
	:: else -> over = ended
	fi
}

/* adv_caller_poll() */
inline poll()
{
	take();
	if
	:: taken || !OUTSTANDING
	:: else ->
		is_over();
		if
		:: !winding_up && !over
		:: else ->
#if defined(MUTANT_NO_LAST_TAKE)
			taken = false;
#else
			take();
#endif
			do
			:: taken || told -> break
			:: !taken && !told && OUTSTANDING -> blame_oldest() /* again if nobody waits for it */
			:: !taken && !told && !OUTSTANDING ->
				if
				:: winding_up -> g = generation; adopt(g); g = 0
				:: else
				fi;
				break
			od;
			told = false
		fi;
		over = false
	fi;
	taken = false
}

/* adv_caller_expire(): cancel(), then the books */
inline expire(slot)
{
	expires--;
	at = call_seq[slot] % N;
	if
	:: d_step { req_seq[at] == call_seq[slot] -> req_cancelled[at] = true }
	:: else
	fi;
	at = 0;
	d_step { check_end(call_id[slot], TIMEOUT); call_abandoned[slot] = true };
#if defined(MUTANT_FREE_EXPIRED)
	d_step { call_out[slot] = false; call_abandoned[slot] = false }
#endif
}

/* adv_caller_sleep(), the wait for the eventfd, adv_caller_awake() */
inline sleep()
{
	caller_sleeping = true;
	if
#if !defined(MUTANT_NO_RECHECK)
	:: CALLER_ARRIVED /* adv_caller_ready() */
	:: winding_up || ended
#if !defined(MUTANT_NO_RECHECK_EPOCH)
	:: generation != my_epoch
#endif
#endif
	:: else -> d_step { event -> event = false }
	fi;
	caller_sleeping = false
}

active proctype Caller()
{
	bool call_out[N], call_abandoned[N];
	byte call_id[N], call_seq[N];
	byte my_epoch, request_seq, completion_seq;
	bool winding_up, blamed, over, closed, taken, told;
	byte next = 1, expires = 1;
	byte g, at, got, oldest, how;

	base_of[1] > 0; /* the client attaches to a lane that is set up: adv_caller_init() */
	g = generation;
	adopt(g);
	g = 0;
	do
	:: next <= CALLS && !closed && !call_out[0] -> submit(0)
	:: next <= CALLS && !closed && call_out[0] && !call_out[1] -> submit(1)
	:: OUTSTANDING -> poll()
	:: OUTSTANDING -> sleep()
	:: expires > 0 && call_out[0] && !call_abandoned[0] -> expire(0)
	:: (next > CALLS || closed) && !OUTSTANDING -> break
	od;
	do
	:: next > 1 -> next--; assert(state[next] != OPEN || closed && epoch_of[next] == 0)
	:: else -> break
	od
}

/* ---- src/lane/lane_worker.c ---- */

/* adv_worker_try() with take(), adv_worker_complete() with publish(), wake_caller() */
inline serve_one()
{
	req_seq[rseq % N] == rseq; /* arrived() */
	if
#if defined(MUTANT_OLD_EPOCH)
	:: true ->
#else
	:: req_epoch[rseq % N] == worker_epoch ->
#endif
		cancelled = req_cancelled[rseq % N];
		id = req_id[rseq % N];
		d_step {
			/* No half-written entry, none of an old epoch. */
			assert(id != 0 && seq_of[id] == rseq && epoch_of[id] == worker_epoch);
			if
			:: cancelled -> answered[id] = true
			:: else ->
				assert(!ran[id] && (state[id] == OPEN || state[id] == TIMEOUT));
				ran[id] = true
			fi;
			rseq++
		};
#if defined(MUTANT_COMPLETE_SEQ_FIRST)
		cpl_seq[cseq % N] = cseq;
#endif
		if /* plain stores: in any order */
		:: cpl_id[cseq % N] = id; cpl_epoch[cseq % N] = worker_epoch
		:: cpl_epoch[cseq % N] = worker_epoch; cpl_id[cseq % N] = id
		fi;
#if !defined(MUTANT_COMPLETE_SEQ_FIRST)
		cpl_seq[cseq % N] = cseq;
#endif
		d_step { cseq++; id = 0; cancelled = false };
		if
		:: caller_sleeping -> event = true
		:: else
		fi
	:: else
	fi
}

active proctype Worker()
{
	byte rseq, cseq, id;
	bool cancelled;
end:	do
	:: started ->
		d_step { rseq = base_of[worker_epoch]; cseq = rseq }; /* adv_worker_lane_init() */
		{
end_idle:		do
			:: serve_one()
			od
		} unless { killed };
		/* The process is gone; the supervisor reaps it. */
		d_step { rseq = 0; cseq = 0; id = 0; cancelled = false; started = false; reaped = true }
	od
}

/* ---- src/lane/supervisor.c, and what src/control/workers.c does around it ---- */

inline start_worker()
{
	d_step { worker_epoch = generation; killed = false; reaped = false; started = true }
}

inline kill_worker()
{
	killed = true;
	reaped
}

/* adv_supervisor_death(): highest() reads entry by entry while the caller may be publishing */
inline store_generation()
{
	record_epoch = generation;
#if defined(MUTANT_RING_ALONE)
	most = req_seq[0];
#else
	most = base_of[generation] - 1; /* the caller may be about to publish this epoch's first calls */
	if
	:: req_seq[0] > most -> most = req_seq[0]
	:: else
	fi;
#endif
	if
	:: req_seq[1] > most -> most = req_seq[1]
	:: else
	fi;
	d_step {
#if defined(MUTANT_SAME_BASE)
		base_of[generation + 1] = base_of[generation];
#elif defined(MUTANT_OLD_EPOCH) || defined(MUTANT_SHORT_BASE)
		base_of[generation + 1] = most + 1;
#else
		base_of[generation + 1] = most + 2 * N + 1;
#endif
		most = 0
	};
#if defined(MUTANT_WAKE_FIRST)
	event = true;
#endif
	generation++
}

inline death()
{
	deaths++;
#if defined(MUTANT_BUMP_FIRST)
	store_generation();
	kill_worker();
#else
	kill_worker();
	store_generation();
#endif
#if !defined(MUTANT_NO_DEATH_WAKE) && !defined(MUTANT_WAKE_FIRST)
	event = true;
#endif
	start_worker()
}

/* adv_supervisor_end() */
inline end_lane()
{
#if defined(MUTANT_END_FIRST)
	ended = true;
	event = true;
	kill_worker()
#else
	kill_worker();
	ended = true;
	event = true
#endif
}

active proctype Supervisor()
{
	byte deaths, most;
	d_step { base_of[1] = 1 }; /* adv_supervisor_init() */
	start_worker();
end:	do
	:: deaths < DEATHS -> death()
	:: deaths == DEATHS -> end_lane(); break
	:: break
	od
}
