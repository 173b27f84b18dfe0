/*
 * arm.pml - sleeping over verbs: a client that says by ARM what it has seen, the poller, the worker, the control thread's node lines. One lane,
 * one link. src/client/verbs_calls.c (adv_verbs_arm(), announce(), heard(), adv_verbs_awake()) and wait.c; src/poller/relay.c
 * (heard_call(), heard_arm(), answer_arm(), carry_lane(), carry_line(), pay_debts(), adv_relay_sleep()) and poller.c (serve(), obey_all(),
 * fall_asleep()); src/control/remote.c (adv_remote_line_changed(), line_sent()). docs/verbs.md says it in words.
 *
 * Proves: no wake-up is lost. A lost one is a deadlock: the client blocked on its channel, the poller in epoll_wait() or spinning on what
 * does not come, the worker on its futex, while calls are outstanding; spin reports it as an invalid end state. Nobody has a timeout
 * here, though the poller looks once a second. Also: at most one ARM is unanswered; immediates never find fewer receives than there are
 * (NODE_RECEIVES, CLIENT_RECEIVES); completions are the caller's own, in order; a call that a worker has completed is not reported as
 * one of a dead worker's; whoever sees a new generation sees the death record. Memory is sequentially consistent: what the fences are for is
 * proved by sleep.pml, what epochs are for by death.pml.
 *
 * The connection keeps the order: a write is at its place before its immediate is in the queue, and that before the next write is at its
 * place. A device that does not place in order is worse than PART_HAND_OVER.
 *
 * Parts. Everything at once is too much to search; what is proved in one part is taken for granted in the others.
 *	PART_CLIENT      the client sleeps; poller and worker spin; a death or a revocation, then perhaps the end
 *	PART_FULL        the same with a send queue of two: answers to ARM and completions that find no room
 *	PART_NODE        poller and worker sleep, and the control thread's messages come; the client spins
 *	PART_ALL         all three sleep, with a send queue of two; no node lines
 *	PART_MANY        the client sleeps, no node lines, but more calls: counts receives
 *	PART_END         as PART_CLIENT, and a call that its worker has completed is not reported as ended with the lease
 *	PART_EVENT_LOOP  as PART_CLIENT, with calls between adv_lease_arm() and the wait for the descriptor
 *	PART_HAND_OVER   as PART_CLIENT, with --placement=immediate: entries and lines are copied when their immediates come
 *
 * Mutants, each of which must be found guilty:
 *	MUTANT_NOTIFY_LATE       adv_verbs_arm() arms its queue after the last look at it
 *	MUTANT_NO_POLL           adv_verbs_arm() does not poll its queue once it is armed
 *	MUTANT_NO_LOOK           adv_caller_sleep() does not look at the mirror after ARM: a line announced as seen was not acted on
 *	MUTANT_TWO_ARMS          adv_verbs_arm() announces although an ARM is unanswered
 *	MUTANT_NO_ANSWER         heard_arm() never answers at once
 *	MUTANT_SEQ_ALONE         heard_arm() does not compare the node line's state
 *	MUTANT_STATE_ALONE       heard_arm() does not compare the completion's number
 *	MUTANT_DONE_BARE         carry_one() sends no immediate when the lane is armed
 *	MUTANT_LINE_BARE         post_line() sends none
 *	MUTANT_GENERATION_FIRST  post_line() writes the generation before the rest
 *	MUTANT_UNLISTED          a lane is not listed any more once something was carried, though calls are in flight
 *	MUTANT_LINE_EARLY (PART_END)       carry_line() does not carry the old epoch's completions before
 *	MUTANT_END_EARLY (PART_END)        it does so before a new generation alone, not before a line that says `ended`: adv_relay_carry() carries
 *	                                   no lane any more once DETACH has come
 *	MUTANT_IDLE_UNARMED (PART_EVENT_LOOP)  adv_verbs_arm() announces only a lane with calls: one that is submitted afterwards wakes nobody
 *	MUTANT_ANY_LINE (PART_HAND_OVER)       hand_over_line() takes whatever line it finds: one whose own immediate, and those of the completions
 *	                                       before it, have not come
 *	MUTANT_NO_LAST_TAKE (PART_END)     wind_up() does not look for completions once more
 *	MUTANT_CARRY_UNHEARD (PART_MANY)   carry_lane() carries completions of calls whose immediates were not heard
 *	MUTANT_NO_DEBTS (PART_FULL)        pay_debts() is missing
 *	MUTANT_NO_WORKER_WAKE (PART_NODE)  heard_call() does not wake the worker
 *	MUTANT_STATE_LATE (PART_NODE)      fall_asleep() tells workers to raise the event after its last look at the lanes
 *	MUTANT_QUEUE_LATE (PART_NODE)      fall_asleep() arms its queue after its last look at it
 *	MUTANT_ASLEEP_LATE (PART_NODE)     fall_asleep() stores `asleep` after its look into the mailbox
 *	MUTANT_NO_MAIL_LOOK (PART_NODE)    fall_asleep() does not look into the mailbox
 *	MUTANT_NO_LAST_SERVE (PART_NODE)   fall_asleep() does not serve once more
 *	MUTANT_NO_LINE_AGAIN (PART_NODE)   adv_remote_line_changed() forgets a change that comes while its message is under way
 */
#if !defined(PART_NODE)
#define CLIENT_SLEEPS
#endif
#if defined(PART_NODE) || defined(PART_ALL)
#define NODE_SLEEPS
#endif
#if !defined(PART_MANY) && !defined(PART_ALL)
#define LINES /* a death, the end */
#endif
#if defined(PART_MANY)
#define CALLS 6
#elif defined(PART_ALL)
#define CALLS 3
#else
#define CALLS 2
#endif
#if defined(PART_FULL) || defined(PART_ALL)
#define DEPTH 2 /* of the node's send queue */
#endif
#define N     2 /* entries, and slots */
#define BASE2 11 /* where the second epoch begins to count: death.pml shows how that is found */

/* To the node, and as immediates there. */
#define CALL 1
#define ARM  2
/* To the client: writes, with an immediate or without. */
#define ENTRY	   1
#define REST	   2 /* of a node line */
#define GENERATION 3
#define NOTHING	   4
/* Immediates there. */
#define DONE 1
#define NOTE 2
#define LINE 3

/* A node line but for its generation. */
#define RECORD	 1 /* the death record of the first epoch */
#define REVOKING 2
#define ENDED	 4
#define STATE(epoch, rest) ((epoch) * 8 + ((rest) & (REVOKING | ENDED))) /* adv_lane_state() */

/*
 * Receives of each side for one lane: adv_remote_receives() but for the one of QUIET, and what a death ends, as that is not heard;
 * receives() with as many node lines as there are here.
 */
#define NODE_RECEIVES (N + 1 + (n_epoch == 2 -> N : 0))
#if defined(PART_HAND_OVER)
#define CLIENT_RECEIVES (N + 2)
#else
#define CLIENT_RECEIVES 1
#endif

/*
 * The connection. To the node: on the way, or in the queue and not taken yet; the memory is written before. To the client: what waits
 * behind an immediate that is not in the queue yet. Everything else is at its place at once: that is no loss, as the way to the node
 * takes as long as you like, and nobody but the two can tell what came first.
 */
chan node_cq = [3 * N + 1] of { byte, byte };
chan to_client = [8] of { byte, byte, byte };
byte coming, coming_what; /* an immediate whose write is at its place */
chan client_cq = [CLIENT_RECEIVES] of { byte, byte };

/* The node's memory. */
byte req[N];
#if defined(PART_HAND_OVER)
byte landing[N];
#endif
byte arm_seq, arm_state; /* the arm line */
byte cpl[N];
byte n_epoch = 1, n_rest; /* the node line */

/* The client's mirror. */
byte mir[N];
byte m_epoch = 1, m_rest;

/* Control thread and poller. */
bool mail_line, mail_detach;

#if defined(CLIENT_SLEEPS)
bool c_notify, c_event; /* the channel: an event for the first entry of the queue after each notify */
byte other = 1;		/* entries of another kind: completions of the client's sends */
#endif
#if defined(DEPTH)
byte nr_sent;	/* of the poller's sends, those that it does not know to be complete */
bool want_room; /* it waits for them */
#endif
#if defined(NODE_SLEEPS)
bool p_notify, p_event;
bool worker_sleeping, relay_sleeping;
bool waiting[N];       /* the worker's futexes */
bool event_fd;	       /* workers to the poller */
bool asleep, wake_fd;  /* the control thread to the poller */
bool back_line;
#endif

/* The worker's process, and how much each epoch's has completed. */
byte alive = 1; /* its epoch; 0: reaped */
byte completed[3];

/* What is checked. */
#define BEHIND(epoch) (((epoch) == 1 -> 1 : BASE2) + completed[epoch]) /* the number after the last completion */
bool asked; /* an ARM was sent, and no answer to it was */

/* A completion queue has another entry. */
inline client_event()
{
#if defined(CLIENT_SLEEPS)
	if
	:: c_notify && !c_event -> c_event = true
	:: else
	fi
#else
	skip
#endif
}

inline poller_event(wanted)
{
#if defined(NODE_SLEEPS)
	if
	:: wanted && p_notify && !p_event -> p_event = true
	:: else
	fi
#else
	skip
#endif
}

/* ---- the connection ---- */

/* CALL, ARM: the writes before them are at their place. */
inline to_node(kind_, seq_)
{
	assert(len(node_cq) < NODE_RECEIVES);
	node_cq!kind_, seq_;
	poller_event(true)
}

/* What is first in the queue, to its place. */
inline place(kind_, what_, imm_)
{
	if
	:: kind_ == ENTRY -> mir[what_ % N] = what_
	:: kind_ == REST -> m_rest = what_
	:: kind_ == GENERATION -> m_epoch = what_ / 8
	:: kind_ == NOTHING
	fi;
	coming = imm_;
#if defined(PART_HAND_OVER)
	coming_what = (imm_ -> what_ : 0)
#endif
}

/* Immediates come, and what was behind them; sends are complete. */
active proctype Device()
{
	byte kind, what, imm;
end:	do
	:: d_step {
		coming != 0 ->
			assert(len(client_cq) < CLIENT_RECEIVES);
			client_cq!coming, coming_what;
			client_event();
			coming = 0;
			coming_what = 0
		}
	:: d_step {
		coming == 0 && len(to_client) > 0 ->
			to_client?kind, what, imm;
			place(kind, what, imm);
			kind = 0;
			what = 0;
			imm = 0
		}
#if defined(PART_CLIENT)
	:: d_step { other > 0 && c_notify && !c_event -> other--; client_event() }
#endif
#if defined(DEPTH)
	:: d_step { nr_sent > len(to_client) -> nr_sent = len(to_client); poller_event(want_room) }
#endif
	od
}

/* ---- src/client/verbs_calls.c, src/client/wait.c, src/lane/caller.c ---- */

/* The completions and the node line that the caller sees. */
#if defined(PART_HAND_OVER)
#define V_CPL	hnd
#define V_EPOCH h_epoch
#define V_REST	h_rest
#else
#define V_CPL	mir
#define V_EPOCH m_epoch
#define V_REST	m_rest
#endif

#define OUTSTANDING    (request_seq != completion_seq)
#define CALLER_ARRIVED (V_CPL[completion_seq % N] == completion_seq)
#define OVER	       (V_EPOCH != my_epoch || (V_REST & ENDED))
#define CAN_SUBMIT     (calls < CALLS && request_seq - completion_seq < N)

/* adv_link_poll() of all there is, heard() */
#if defined(PART_HAND_OVER)
inline hear_one()
{
	client_cq?imm, what;
	if
	:: imm == DONE -> hnd[what % N] = mir[what % N] /* hand_over() */
	:: imm == LINE -> noted = what
	fi;
	imm = 0;
	what = 0
}

inline hand_over_line()
{
	if
#if defined(MUTANT_ANY_LINE)
	:: noted != 0 -> h_epoch = m_epoch; h_rest = m_rest
#else
	:: noted == STATE(m_epoch, m_rest) -> h_epoch = m_epoch; h_rest = m_rest
#endif
	:: else
	fi;
	noted = 0
}

/* What has come by now; what comes while it is heard is left. */
inline hear_all()
{
	left = len(client_cq);
	do
	:: d_step { left > 0 -> hear_one(); left-- };
		d_step { hand_over_line() }
	:: else -> break
	od
}
#else
inline hear_all()
{
	do
	:: len(client_cq) > 0 -> client_cq?_, _; unanswered = false
	:: else -> break
	od;
	skip
}
#endif

/* adv_verbs_progress() */
#if defined(PART_HAND_OVER)
#define PROGRESS hear_all()
#else
#define PROGRESS d_step { hear_all() }
#endif

/* announce() */
inline announce(what)
{
	assert(!asked); /* at most one ARM is unanswered */
	asked = true;
	unanswered = true;
	arm_seq = completion_seq;
	arm_state = STATE(my_epoch, what);
	to_node(ARM, 0)
}

inline adopt()
{
	my_epoch = V_EPOCH;
	request_seq = (my_epoch == 1 -> 1 : BASE2);
	completion_seq = request_seq
}

/* adv_submit(): adv_caller_submit(), adv_verbs_post() */
inline submit()
{
	if
	:: V_REST & (ENDED | REVOKING) -> calls = CALLS
	:: else ->
		if
		:: V_EPOCH != my_epoch && !OUTSTANDING -> adopt()
		:: else
		fi;
		if
		:: V_EPOCH == my_epoch ->
#if defined(PART_HAND_OVER)
			landing[request_seq % N] = request_seq;
#else
			req[request_seq % N] = request_seq;
#endif
			to_node(CALL, request_seq);
			request_seq++;
			calls++
		:: else /* ADV_BUSY */
		fi
	fi
}

/* take_one() */
inline take_one()
{
	assert(completion_seq < BEHIND(my_epoch) && OUTSTANDING);
	completion_seq++
}

/* wind_up(): the oldest call was run by a dead worker, the others were not; none of them was completed */
inline wind_up()
{
	if
	:: V_EPOCH != my_epoch ->
		assert(BEHIND(my_epoch) <= completion_seq);
		assert(V_REST & RECORD); /* death_of() */
		adopt()
	:: else -> /* ended */
#if defined(PART_END) || defined(PART_HAND_OVER)
		assert(BEHIND(my_epoch) <= completion_seq);
#endif
		completion_seq = request_seq
	fi
}

/* adv_caller_poll(): take(), is_over(), and once more take(), which is the look that counts */
inline poll()
{
#if defined(MUTANT_NO_LAST_TAKE)
	if
	:: d_step { CALLER_ARRIVED -> take_one() }
	:: else ->
		if
		:: d_step { OVER -> wind_up() }
		:: else
		fi
	fi
#else
	if
	:: d_step { CALLER_ARRIVED -> take_one() }
	:: else -> d_step { wind_up() } /* is_over() has looked */
	fi
#endif
}

#if defined(PART_EVENT_LOOP)
/* Between adv_lease_arm() and waiting for its descriptor. */
inline submit_armed()
{
	d_step { CAN_SUBMIT -> submit() }
}
#endif

/* adv_caller_settle(): what it is for, that the answer does not come at once again and again, is not shown here */
inline settle()
{
	if
	:: V_EPOCH != my_epoch && !OUTSTANDING -> adopt()
	:: else
	fi
}

/* adv_verbs_arm(), adv_caller_sleep(), is_lost(); asleep on the channel; adv_verbs_awake() */
inline sleep()
{
#if !defined(MUTANT_NOTIFY_LATE)
	c_notify = true;
#endif
#if !defined(MUTANT_NO_POLL)
	PROGRESS;
#endif
#if !defined(PART_HAND_OVER)
	if
#if defined(MUTANT_TWO_ARMS)
	:: d_step { true -> settle(); announce(V_REST) }
#elif defined(MUTANT_IDLE_UNARMED)
	:: d_step { OUTSTANDING && !unanswered -> announce(V_REST) }
#else
	:: d_step { !unanswered -> settle(); announce(V_REST) }
#endif
	:: else
	fi;
#endif
	if
#if !defined(MUTANT_NO_LOOK)
	:: OUTSTANDING && (CALLER_ARRIVED || OVER)
#endif
	:: else ->
		PROGRESS;
#if defined(MUTANT_NOTIFY_LATE)
		c_notify = true;
#endif
#if defined(PART_EVENT_LOOP)
		do
		:: OUTSTANDING -> break
		:: CAN_SUBMIT -> submit_armed()
		:: !OUTSTANDING -> goto awake /* there is nothing to wait for */
		od;
#endif
		atomic { c_event -> c_event = false; c_notify = false };
		PROGRESS
	fi;
awake:	skip
}

active proctype Client()
{
	byte my_epoch = 1, request_seq = 1, completion_seq = 1;
	byte calls;
	bool unanswered;
#if defined(PART_HAND_OVER)
	byte hnd[N];
	byte h_epoch = 1, h_rest;
	byte imm, what, noted, left;
#endif
	do
	:: d_step { CAN_SUBMIT -> submit() }
#if defined(PART_HAND_OVER)
	:: OUTSTANDING && (len(client_cq) > 0 || CALLER_ARRIVED || OVER) ->
		PROGRESS; /* adv_client_hand_over() */
		if
		:: CALLER_ARRIVED || OVER -> poll()
		:: else
		fi
#elif defined(MUTANT_NO_LAST_TAKE)
	:: OUTSTANDING -> poll()
#else
	:: OUTSTANDING && (CALLER_ARRIVED || OVER) -> poll()
#endif
#if defined(PART_EVENT_LOOP)
	:: OUTSTANDING || CAN_SUBMIT -> sleep()
#elif defined(CLIENT_SLEEPS)
	:: OUTSTANDING -> sleep()
#endif
	:: !OUTSTANDING -> break
	od
}

/* ---- src/poller/relay.c, src/poller/poller.c ---- */

#if defined(DEPTH)
#define ROOM(n) (DEPTH - nr_sent >= n)
#else
#define ROOM(n) true
#endif
#define RELAY_ARRIVED (cpl[next % N] == next)
#define IN_FLIGHT     (heard >= next)
#if defined(MUTANT_CARRY_UNHEARD)
#define MAY_CARRY RELAY_ARRIVED
#else
#define MAY_CARRY (IN_FLIGHT && RELAY_ARRIVED)
#endif

#if defined(MUTANT_GENERATION_FIRST)
#define SECOND REST
#else
#define SECOND GENERATION
#endif

inline post(kind_, what_, imm_)
{
#if defined(DEPTH)
	nr_sent++;
#endif
	if /* of the two writes of a line the second comes by itself */
	:: coming != 0 || len(to_client) > 0 || kind_ == SECOND -> to_client!kind_, what_, imm_
	:: else -> place(kind_, what_, imm_)
	fi
}

/* answer_arm() */
inline answer_arm()
{
	if
	:: ROOM(1) -> post(NOTHING, my_epoch, NOTE); armed = false; asked = false
	:: else -> stalled = true
	fi
}

/* heard_arm() */
inline heard_arm()
{
	armed = true;
	if
#if defined(MUTANT_NO_ANSWER)
	:: false -> answer_arm()
#elif defined(MUTANT_SEQ_ALONE)
	:: arm_seq != next -> answer_arm()
#elif defined(MUTANT_STATE_ALONE)
	:: arm_state != sent_state -> answer_arm()
#else
	:: arm_seq != next || arm_state != sent_state -> answer_arm()
#endif
	:: else
	fi
}

/* adv_relay_hear() */
inline hear()
{
	if
	:: kind == CALL && seq >= next && seq < next + N ->
#if defined(PART_HAND_OVER)
		req[seq % N] = landing[seq % N];
#endif
		heard = (seq > heard -> seq : heard);
		listed = true;
#if defined(NODE_SLEEPS) && !defined(MUTANT_NO_WORKER_WAKE)
		if /* wake_worker() */
		:: worker_sleeping -> waiting[seq % N] = false
		:: else
		fi
#endif
	:: kind == ARM -> heard_arm()
	:: else
	fi;
	kind = 0;
	seq = 0
}

/* carry_lane() */
inline carry_lane(may_carry)
{
	do
	:: !stalled && may_carry && ROOM(1) ->
#if defined(PART_HAND_OVER)
		post(ENTRY, next, DONE);
#elif defined(MUTANT_DONE_BARE)
		post(ENTRY, next, 0);
#else
		post(ENTRY, next, (armed -> DONE : 0));
#endif
		asked = asked && !armed;
		armed = false;
		next++
	:: !stalled && may_carry && !ROOM(1) -> stalled = true
	:: else -> break
	od
}

/* carry_line() */
inline carry_line()
{
	epoch = n_epoch;
	rest = n_rest;
	if
#if defined(MUTANT_LINE_EARLY)
	:: false
#elif defined(MUTANT_END_EARLY)
	:: epoch != my_epoch -> carry_lane(RELAY_ARRIVED)
#else
	:: epoch != my_epoch || (rest & ENDED) -> carry_lane(RELAY_ARRIVED)
#endif
	:: else
	fi;
	if
	:: stalled
	:: !stalled && !ROOM(2) -> stalled = true
	:: else ->
#if defined(MUTANT_GENERATION_FIRST)
		post(GENERATION, STATE(epoch, rest), 0);
		post(REST, rest, (armed -> LINE : 0));
#elif defined(MUTANT_LINE_BARE)
		post(REST, rest, 0);
		post(GENERATION, STATE(epoch, rest), 0);
#elif defined(PART_HAND_OVER)
		post(REST, rest, 0);
		post(GENERATION, STATE(epoch, rest), LINE);
#else
		post(REST, rest, 0);
		post(GENERATION, STATE(epoch, rest), (armed -> LINE : 0));
#endif
		asked = asked && !armed;
		armed = false;
		sent_state = STATE(epoch, rest);
		if
		:: epoch != my_epoch -> my_epoch = epoch; next = BASE2; heard = BASE2 - 1
		:: else
		fi;
		dirty = false
	fi;
	epoch = 0;
	rest = 0
}

/* What a pass of the poller would find. */
#define POLLABLE (len(node_cq) > 0 || mail_line || mail_detach || (stalled && ROOM(2)) || (dirty && !stalled) || \
	(listed && !ending && !stalled && MAY_CARRY))

/*
 * serve(): adv_link_poll(), adv_relay_hear(), adv_relay_carry(); obey_all(). All is looked at in one step: what comes between two of
 * these looks comes before both, or after both.
 */
inline pass()
{
	do
	:: nempty(node_cq) -> node_cq?kind, seq; hear()
	:: break /* the rest comes later */
	od;
	if
	:: stalled && !ROOM(2)
	:: else ->
		if
#if !defined(MUTANT_NO_DEBTS)
		:: stalled && armed -> stalled = false; heard_arm() /* pay_debts() */
#endif
		:: else -> stalled = false
		fi;
		if
#if defined(MUTANT_UNLISTED)
		:: listed && !ending -> carry_lane(MAY_CARRY); listed = false
#else
		:: listed && !ending -> carry_lane(MAY_CARRY); listed = IN_FLIGHT
#endif
		:: else
		fi;
		if
		:: dirty && !stalled -> carry_line()
		:: else
		fi
	fi;
	dirty = dirty || mail_line;
	ending = ending || mail_detach;
#if defined(NODE_SLEEPS)
	back_line = back_line || mail_line;
#endif
#if defined(DEPTH)
	want_room = stalled;
#endif
	mail_line = false;
	mail_detach = false;
	if
	:: !armed -> arm_seq = 0; arm_state = 0 /* nobody reads them again */
	:: else
	fi
}

#if defined(NODE_SLEEPS)
/* sleep_once(): fall_asleep(), epoll_wait(), take_event() */
inline poller_sleep()
{
#if defined(MUTANT_STATE_LATE)
	d_step { p_notify = true; asleep = true };
#elif defined(MUTANT_QUEUE_LATE)
	d_step { relay_sleeping = listed; asleep = true };
#elif defined(MUTANT_ASLEEP_LATE)
	d_step { relay_sleeping = listed; p_notify = true };
#else
	d_step { relay_sleeping = listed; p_notify = true; asleep = true };
#endif
	if
#if defined(MUTANT_NO_MAIL_LOOK)
	:: POLLABLE && !mail_line && !mail_detach
#elif !defined(MUTANT_NO_LAST_SERVE)
	:: POLLABLE
#endif
	:: else ->
#if defined(MUTANT_STATE_LATE)
		relay_sleeping = listed;
#elif defined(MUTANT_QUEUE_LATE)
		p_notify = true;
#elif defined(MUTANT_ASLEEP_LATE)
		asleep = true;
#endif
end_asleep:
		d_step {
			p_event || event_fd || wake_fd ->
				event_fd = false;
				wake_fd = false;
				if
				:: p_event -> p_event = false; p_notify = false
				:: else
				fi
		}
	fi;
	d_step { asleep = false; relay_sleeping = false }
}
#endif

active proctype Poller()
{
	byte next = 1, heard, my_epoch = 1, sent_state = STATE(1, 0); /* the lane's */
	byte kind, seq, epoch, rest;
	bool listed, armed, dirty, stalled, ending;
end:	do
	:: atomic { POLLABLE -> pass() }
#if defined(NODE_SLEEPS)
	:: !POLLABLE -> poller_sleep()
#endif
	od
}

/* ---- src/lane/lane_worker.c ---- */

#define EXPECTED       BEHIND(alive)
#define WORKER_ARRIVED (alive && req[EXPECTED % N] == EXPECTED)

/* adv_worker_try(), adv_worker_complete(): take(), publish() */
inline serve_one()
{
	d_step { WORKER_ARRIVED -> cpl[EXPECTED % N] = EXPECTED; completed[alive]++ };
#if defined(NODE_SLEEPS)
	if /* wake_caller() */
	:: alive && relay_sleeping -> event_fd = true
	:: else
	fi
#endif
}

#if defined(NODE_SLEEPS)
/* sleep_once(); what its futex is for is shown by sleep.pml */
inline worker_sleep()
{
	d_step { alive && !WORKER_ARRIVED -> worker_sleeping = true };
	if
	:: d_step { WORKER_ARRIVED || !alive -> worker_sleeping = false }
	:: d_step { else -> waiting[EXPECTED % N] = true };
end_asleep:
		d_step { !waiting[0] && !waiting[1] -> worker_sleeping = false }
	fi
}
#endif

active proctype Worker()
{
end:	do
	:: serve_one()
#if defined(NODE_SLEEPS)
	:: worker_sleep()
#endif
	od
}

/* ---- src/control/held.c, workers.c, remote.c: the control thread ---- */

/* adv_sandboxes_kill(), and it is reaped */
inline kill_worker()
{
	alive = 0;
#if defined(NODE_SLEEPS)
	waiting[0] = false;
	waiting[1] = false
#endif
}

/* adv_poller_send() */
#if defined(NODE_SLEEPS)
inline poke()
{
	if
	:: asleep -> wake_fd = true
	:: else
	fi
}
#else
#define poke() skip
#endif

/* adv_remote_line_changed() */
inline line_changed()
{
#if defined(NODE_SLEEPS)
	if
#if !defined(MUTANT_NO_LINE_AGAIN)
	:: line_sent -> line_again = true
#else
	:: line_sent
#endif
	:: else -> line_sent = true; mail_line = true; poke()
	fi
#else
	mail_line = true
#endif
}

/* line_sent() */
inline line_came_back()
{
	back_line = false;
	line_sent = false;
	if
	:: line_again -> line_again = false; line_changed()
	:: else
	fi
}

#if defined(LINES)
active proctype Control()
{
	bool changed;
#if defined(NODE_SLEEPS)
	bool line_sent, line_again;
#endif
end:	do
	:: d_step { !changed -> changed = true; kill_worker() }; /* a death */
		d_step { n_rest = n_rest | RECORD; n_epoch = 2 };
		d_step { line_changed(); alive = 2 }
#if defined(PART_CLIENT) || defined(PART_HAND_OVER)
	:: d_step { !changed -> changed = true; n_rest = n_rest | REVOKING };
		d_step { line_changed() }
#endif
#if defined(NODE_SLEEPS)
	:: d_step { back_line -> line_came_back() }
#endif
	:: d_step { !(n_rest & ENDED) -> changed = true; kill_worker() };
		n_rest = n_rest | ENDED;
		d_step { line_changed() };
		d_step { mail_detach = true; poke() }
	:: goto patient /* does nothing of its own accord any more */
	od;
patient:
	skip;
#if defined(NODE_SLEEPS)
end_patient:
	do
	:: d_step { back_line -> line_came_back() }
	od
#endif
}
#endif
