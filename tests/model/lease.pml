/*
 * lease.pml - the states of leases, from the request to the last worker's death: two clients, their workers, one core, the control thread.
 * allocator/lease.c (all of it), queue.c; src/control/admission.c (attempt(), serve(), adv_admission_room()), held.c (adv_held_open(),
 * adv_held_attach(), client_line(), client_gone(), adv_held_revoke(), adv_held_end(), held_over()), workers.c (worker_died()), api_drain.c.
 *
 * Proves: a lease moves only as the table of docs/leases.md says; its core is another's only when its worker is reaped, and is given back once;
 * a revoked lease is never active again; nobody overtakes who waits; and whatever clients do (die, fall silent, hold their lease when it is
 * revoked), in the end each that waits is served, each lease is over, and the core is free (else a process waits for ever: an invalid
 * end state).
 *
 * Time is up whenever the model chooses. A client that falls silent never says anything again, and its connection stays.
 *
 * Mutants, each of which must be found guilty:
 *	MUTANT_CORE_EARLY     a core is given back when its lease ends, not when its worker is reaped
 *	MUTANT_RENEW_REVOKED  a renewal makes a revoked lease active
 *	MUTANT_END_TWICE      a lease that is ending is ended again, and forgotten at once when its worker has died meanwhile
 *	MUTANT_NO_ROOM        whoever waits is not told that there is room
 *	MUTANT_OVERTAKE       a new request is granted though another waits
 *	MUTANT_NO_ATTACH_BY   a lease that nobody attaches goes on for ever
 *	MUTANT_NO_GRACE       a revoked lease ends only when its client gives it back
 *	MUTANT_ATTACH_LATE    a lease that is ending can be attached
 *	MUTANT_REPLACE_ENDING a worker that dies is replaced though its lease is ending
 */

/* enum adv_lease_state; and before it, a request that waits */
#define NOTHING	 0
#define WAITING	 1
#define GRANTED	 2
#define ACTIVE	 3
#define REVOKING 4
#define ENDING	 5

mtype = { ASK, ATTACH, RENEW, RELEASE, GONE, GRANT, REVOKED, ENDED };

chan to_node = [6] of { mtype, byte };
chan to_client[2] = [6] of { mtype };

byte state[2];
bool alive[2];	/* its worker is a process */
bool killed[2];
bool dead[2];	/* died, and not reaped yet */
byte cores = 1;
byte waits[2];	/* in order of arrival; 0: does not */
byte arrivals;
bool drained, may_drain;
bool may_crash = true; /* one worker, once */
bool look;	       /* the queue's timer is set: whoever has made room is in the middle of something */

/* The table. */
inline go(c, to)
{
	assert((state[c] == NOTHING && (to == WAITING || to == GRANTED)) ||
	       (state[c] == WAITING && (to == GRANTED || to == NOTHING)) ||
	       (state[c] == GRANTED && (to == ACTIVE || to == REVOKING || to == ENDING)) ||
	       (state[c] == ACTIVE && (to == REVOKING || to == ENDING)) ||
	       (state[c] == REVOKING && to == ENDING) ||
	       (state[c] == ENDING && to == NOTHING));
	state[c] = to
}

/* What follows from a step of the node: each is carried out once, in this order. */
bool must_end, must_forget, is_room, must_grant;

/* adv_held_end() */
inline end_lease(c)
{
	if
	:: state[c] == GRANTED || state[c] == ACTIVE || state[c] == REVOKING ->
		go(c, ENDING);
		killed[c] = true;
#ifdef MUTANT_CORE_EARLY
		cores++;
		is_room = true;
#endif
		must_forget = !alive[c] && !dead[c]
#ifdef MUTANT_END_TWICE
	:: state[c] == ENDING && !alive[c] -> must_forget = true
#endif
	:: else -> skip
	fi
}

/* held_over(), adv_leases_forget() */
inline forget(c)
{
	assert(!alive[c] && !dead[c]);
	go(c, NOTHING);
#ifndef MUTANT_CORE_EARLY
	cores++;
#endif
	assert(cores <= 1);
	to_client[c] ! ENDED;
#ifndef MUTANT_NO_ROOM
	is_room = true
#endif
}

/* adv_admission_room(), serve(): whoever came first. */
inline room(c)
{
	if
	:: cores > 0 && !drained && waits[0] > 0 && (waits[1] == 0 || waits[0] < waits[1]) -> c = 0; must_grant = true
	:: cores > 0 && !drained && waits[1] > 0 && (waits[0] == 0 || waits[1] < waits[0]) -> c = 1; must_grant = true
	:: else -> skip
	fi
}

/* start_worker() */
inline start(c)
{
	assert(state[c] == GRANTED || state[c] == ACTIVE);
	alive[c] = true
}

inline grant(c)
{
	assert(cores > 0);
	assert(!alive[0] && !alive[1] && !dead[0] && !dead[1]);
	assert(waits[1 - c] == 0 || (waits[c] > 0 && waits[c] < waits[1 - c])); /* nobody is overtaken */
	cores--;
	waits[c] = 0;
	go(c, GRANTED);
	killed[c] = false;
	start(c);
	to_client[c] ! GRANT
}

inline take_request(c)
{
	if
#ifdef MUTANT_OVERTAKE
	:: cores > 0 && !drained -> must_grant = true
#else
	:: cores > 0 && !drained && waits[1 - c] == 0 -> must_grant = true
#endif
	:: else ->
		go(c, WAITING);
		arrivals++;
		waits[c] = arrivals;
		is_room = true
	fi
}

inline take_word(what, c)
{
	if
	:: what == ATTACH && state[c] == GRANTED -> go(c, ACTIVE)
#ifdef MUTANT_ATTACH_LATE
	:: what == ATTACH && state[c] == ENDING -> go(c, ACTIVE)
#endif
#ifdef MUTANT_RENEW_REVOKED
	:: what == RENEW && state[c] == REVOKING -> go(c, ACTIVE)
#endif
	:: what == GONE && state[c] == WAITING -> waits[c] = 0; go(c, NOTHING); is_room = true
	:: (what == RELEASE || what == GONE) && state[c] != WAITING -> must_end = true
	:: else -> skip
	fi
}

inline revoke(c)
{
	if
	:: state[c] == GRANTED || state[c] == ACTIVE -> state[c] = REVOKING; to_client[c] ! REVOKED
	:: else -> skip
	fi
}

/* worker_died(): replaced, unless its lease is on its way out. */
inline reap(c)
{
	dead[c] = false;
	if
#ifdef MUTANT_REPLACE_ENDING
	:: state[c] == GRANTED || state[c] == ACTIVE || state[c] == ENDING -> start(c)
#else
	:: state[c] == GRANTED || state[c] == ACTIVE -> start(c)
	:: state[c] == ENDING -> must_forget = true
#endif
	:: state[c] == REVOKING -> skip
	fi
}

/* adv_leases_due(): each may be up at any time. */
#ifdef MUTANT_NO_ATTACH_BY
#define UP_GRANTED(c) false
#else
#define UP_GRANTED(c) (state[c] == GRANTED)
#endif
#ifdef MUTANT_NO_GRACE
#define UP_REVOKING(c) false
#else
#define UP_REVOKING(c) (state[c] == REVOKING)
#endif
#define IS_UP(c) (UP_GRANTED(c) || state[c] == ACTIVE || UP_REVOKING(c))

proctype node()
{
	mtype what;
	byte c;
end:
	do
	:: atomic {
		if
		:: to_node ? what(c) ->
			if
			:: what == ASK -> take_request(c)
			:: else -> take_word(what, c)
			fi
		:: dead[0] -> c = 0; reap(c)
		:: dead[1] -> c = 1; reap(c)
		:: IS_UP(0) -> c = 0; must_end = true
		:: IS_UP(1) -> c = 1; must_end = true
		:: may_drain -> may_drain = false; drained = true; revoke(0); revoke(1)
		:: drained -> drained = false; is_room = true
		:: look -> look = false; room(c)
		fi;
		if
		:: must_end -> must_end = false; end_lease(c)
		:: else -> skip
		fi;
		if
		:: must_forget -> must_forget = false; forget(c)
		:: else -> skip
		fi;
		if
		:: is_room -> is_room = false; look = true
		:: else -> skip
		fi;
		if
		:: must_grant -> must_grant = false; grant(c)
		:: else -> skip
		fi
	}
	od
}

/* Of one lease after the other: dies when it is killed; one of them once by itself. */
proctype worker(byte c)
{
end:
	do
	:: atomic { alive[c] && killed[c] -> alive[c] = false; dead[c] = true }
	:: atomic { alive[c] && !killed[c] && may_crash -> may_crash = false; alive[c] = false; dead[c] = true }
	od
}

proctype client(byte c)
{
	mtype what;
	bool renewed, impatient;
	to_node ! ASK(c);
	/* It waits for its turn, or only for a while. */
	if
	:: impatient = true
	:: skip
	fi;
	if
	:: to_client[c] ? GRANT
	:: impatient -> to_node ! GONE(c); goto over
	fi;
	if
	:: to_node ! ATTACH(c)
	:: to_node ! GONE(c); goto over
	:: goto silent
	fi;
	do
	:: !renewed -> renewed = true; to_node ! RENEW(c)
	:: to_node ! RELEASE(c); goto silent
	:: to_node ! GONE(c); goto over
	:: to_client[c] ? REVOKED ->
		if
		:: to_node ! RELEASE(c)
		:: skip
		fi;
		goto silent
	:: to_client[c] ? ENDED -> goto over
	od;
silent:
	/* Whatever it does not say, it hears that its lease is over. */
	do
	:: to_client[c] ? what ->
		if
		:: what == ENDED -> goto over
		:: else -> skip
		fi
	od;
over:
	skip
}

init
{
	atomic {
		if
		:: may_drain = true
		:: skip
		fi;
		run node();
		run worker(0);
		run worker(1);
		run client(0);
		run client(1)
	}
}
