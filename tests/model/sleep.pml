/*
 * sleep.pml - the lane's sleeping and waking: hot, warm, hot again. One caller, one worker, nobody dies (death.pml).
 *
 * Proves: no wake-up is lost. A lost one is a deadlock: the worker sleeps on its futex, the caller on its eventfd, and calls
 * are outstanding; spin reports it as an invalid end state. Also: completions are the caller's own, in order.
 *
 * Memory: each side has a store buffer with one place for each word. What is stored there becomes visible later, in any order
 * (weaker than x86-64, which keeps the order); a side sees its own stores at once. An exchange and a full fence empty the
 * buffer first. So a missing fence is a store that a load overtakes. Loads are not reordered with loads: the C code's are
 * acquire or stronger.
 *
 * Numbers are not wrapped: a sequence number is the call's number, from 1; entry = seq % ENTRIES.
 *
 * Mutants, each of which must be found guilty:
 *	MUTANT_NO_FENCE_SUBMIT        adv_caller_submit() stores seq with release only, then looks at the worker's state
 *	MUTANT_NO_FENCE_WAKE          wake_caller() has no fence between the completion and the look at the caller's state
 *	MUTANT_NO_FENCE_WORKER_SLEEP  the worker's sleep_once() stores SLEEPING without a fence before its re-check
 *	MUTANT_NO_FENCE_CALLER_SLEEP  adv_caller_sleep() likewise
 *	MUTANT_NO_RECHECK_WORKER      sleep_once() reads the futex's value after SLEEPING and does not re-check
 *	MUTANT_NO_RECHECK_CALLER      adv_caller_sleep() does not re-check
 *	MUTANT_LOOK_FIRST             adv_caller_submit() looks at the worker's state before it stores seq
 *	MUTANT_WAKE_NEXT_WORD         the caller wakes the word of the next entry
 *	MUTANT_RUN_FIRST              the worker runs the next call before it has looked at the caller's state
 *	MUTANT_SLEEP_FIRST            the worker goes to sleep before it has looked at the caller's state
 */
#define CALLS	5
#define ENTRIES 2 /* and slots */

#define RUNNING	 1
#define SLEEPING 2

/* Memory, and both store buffers: 0 is an empty place. */
byte req[ENTRIES];  /* request entries' seq */
byte cpl[ENTRIES];  /* completion entries' seq */
byte worker_state = RUNNING;
byte caller_state = RUNNING;
byte buf_req[ENTRIES];	 /* the caller's */
byte buf_caller_state;
byte buf_cpl[ENTRIES];	 /* the worker's */
byte buf_worker_state;

/* The kernel. */
bool waiting[ENTRIES]; /* the worker sleeps on this entry's word */
bool event;	       /* the caller's eventfd is readable */

byte spurious = 1; /* futexes that return for no reason: few, as they would hide a lost wake-up */

/* ---- store buffers ---- */

inline flush_caller()
{
	if :: buf_req[0] != 0 -> req[0] = buf_req[0]; buf_req[0] = 0 :: else fi;
	if :: buf_req[1] != 0 -> req[1] = buf_req[1]; buf_req[1] = 0 :: else fi;
	if :: buf_caller_state != 0 -> caller_state = buf_caller_state; buf_caller_state = 0 :: else fi
}

inline flush_worker()
{
	if :: buf_cpl[0] != 0 -> cpl[0] = buf_cpl[0]; buf_cpl[0] = 0 :: else fi;
	if :: buf_cpl[1] != 0 -> cpl[1] = buf_cpl[1]; buf_cpl[1] = 0 :: else fi;
	if :: buf_worker_state != 0 -> worker_state = buf_worker_state; buf_worker_state = 0 :: else fi
}

active proctype Buffers()
{
end:	do
	:: d_step { buf_req[0] != 0 -> req[0] = buf_req[0]; buf_req[0] = 0 }
	:: d_step { buf_req[1] != 0 -> req[1] = buf_req[1]; buf_req[1] = 0 }
	:: d_step { buf_caller_state != 0 -> caller_state = buf_caller_state; buf_caller_state = 0 }
	:: d_step { buf_cpl[0] != 0 -> cpl[0] = buf_cpl[0]; buf_cpl[0] = 0 }
	:: d_step { buf_cpl[1] != 0 -> cpl[1] = buf_cpl[1]; buf_cpl[1] = 0 }
	:: d_step { buf_worker_state != 0 -> worker_state = buf_worker_state; buf_worker_state = 0 }
	od
}

/* ---- the kernel ---- */

/* adv_futex_wake() */
inline futex_wake(e)
{
	waiting[e] = false
}

/* ---- src/lane/caller.c ---- */

byte request_seq = 1;	 /* of the next request */
byte completion_seq = 1; /* expected next */

#define OUTSTANDING	 (request_seq - completion_seq)
#define CALLER_ARRIVED	 (cpl[completion_seq % ENTRIES] == completion_seq)

/* The exchange of seq in adv_caller_submit(). */
inline store_seq()
{
#if defined(MUTANT_NO_FENCE_SUBMIT)
	d_step { buf_req[seq % ENTRIES] = seq }
#else
	d_step { flush_caller(); req[seq % ENTRIES] = seq }
#endif
}

/* adv_caller_submit() */
inline submit()
{
	seq = request_seq;
	request_seq++;
#if defined(MUTANT_LOOK_FIRST)
	state = worker_state;
	store_seq();
#else
	store_seq();
	state = worker_state;
#endif
	if
	:: state == SLEEPING ->
#if defined(MUTANT_WAKE_NEXT_WORD)
		futex_wake((seq + 1) % ENTRIES)
#else
		futex_wake(seq % ENTRIES)
#endif
	:: else
	fi;
	state = 0;
	seq = 0
}

/* adv_caller_awake() */
inline caller_awake()
{
	buf_caller_state = RUNNING
}

/* adv_caller_sleep(), the wait for the eventfd by the caller of it, adv_caller_awake() */
inline caller_sleep()
{
#if defined(MUTANT_NO_FENCE_CALLER_SLEEP)
	buf_caller_state = SLEEPING;
#else
	d_step { flush_caller(); caller_state = SLEEPING };
#endif
	if
#if !defined(MUTANT_NO_RECHECK_CALLER)
	:: CALLER_ARRIVED
#endif
	:: else -> d_step { event -> event = false }
	fi;
	caller_awake()
}

active proctype Caller()
{
	byte seq, state;
	do
	:: request_seq <= CALLS && OUTSTANDING < ENTRIES -> submit()
	:: CALLER_ARRIVED -> completion_seq++ /* adv_caller_poll() */
	:: OUTSTANDING > 0 && !CALLER_ARRIVED -> caller_sleep()
	:: completion_seq > CALLS -> break
	od
}

/* ---- src/lane/lane_worker.c ---- */

#define WORKER_ARRIVED (req[expected % ENTRIES] == expected)

/* wake_caller() */
inline wake_caller()
{
	if
	:: unfenced ->
		unfenced = false;
#if !defined(MUTANT_NO_FENCE_WAKE)
		d_step { flush_worker() };
#endif
		if
		:: caller_state == SLEEPING -> event = true
		:: else
		fi
	:: else
	fi
}

/* take(), wake_caller(), the function, adv_worker_complete(): publish() */
inline take_and_run()
{
	assert(expected < request_seq);
#if !defined(MUTANT_RUN_FIRST)
	wake_caller();
#endif
	assert(!unfenced); /* nobody waits for a completion behind another call's run */
	buf_cpl[expected % ENTRIES] = expected;
	unfenced = true;
	expected++
}

/* sleep_once() */
inline worker_sleep()
{
#if !defined(MUTANT_NO_RECHECK_WORKER)
	stale = req[expected % ENTRIES];
#endif
#if defined(MUTANT_NO_FENCE_WORKER_SLEEP)
	buf_worker_state = SLEEPING;
#else
	d_step { flush_worker(); worker_state = SLEEPING };
#endif
#if defined(MUTANT_NO_RECHECK_WORKER)
	stale = req[expected % ENTRIES];
	if
	:: true ->
#else
	if
	:: WORKER_ARRIVED || req[expected % ENTRIES] != stale
	:: else ->
#endif
		/* adv_futex_wait(): the kernel compares and queues in one step */
		d_step {
			if
			:: req[expected % ENTRIES] == stale -> waiting[expected % ENTRIES] = true
			:: else
			fi
		};
end_asleep:
		if
		:: !waiting[expected % ENTRIES]
		:: d_step { spurious > 0 && waiting[expected % ENTRIES] ->
				spurious--; waiting[expected % ENTRIES] = false }
		fi
	fi;
	stale = 0;
	buf_worker_state = RUNNING
}

/* adv_worker_next(): the hot window may end at any time */
active proctype Worker()
{
	byte expected = 1; /* request_seq */
	byte stale;
	bool unfenced;
	do
	:: WORKER_ARRIVED -> take_and_run()
	:: !WORKER_ARRIVED ->
#if !defined(MUTANT_SLEEP_FIRST)
		wake_caller();
#endif
		worker_sleep()
	od
}
