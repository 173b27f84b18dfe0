/* kernel_interfaces.c - the large interfaces with a history of holes; against the filter. */
#include "attack.h"

static char room[256];

ATTACK_BY_CALLS({SYS_io_uring_setup, {4, (long)room}}, {SYS_io_uring_enter, {3, 1}},
		{SYS_io_uring_register, {3, 0}}, {SYS_io_setup, {4, (long)room}},
		{SYS_bpf, {0, (long)room, 64}}, {SYS_userfaultfd, {1}},
		{SYS_perf_event_open, {(long)room, 0, -1, -1, 0}}, {SYS_keyctl, {0, -3, 0}},
		{SYS_add_key, {(long)"user", (long)"x", (long)"x", 1, -3}},
		{SYS_request_key, {(long)"user", (long)"x", 0, -3}}, {SYS_fanotify_init, {0}},
		{SYS_inotify_init1, {0}}, {SYS_epoll_create1, {0}}, {SYS_eventfd2, {0}},
		{SYS_signalfd4, {-1}}, {SYS_timerfd_create, {1}}, {SYS_pipe2, {(long)room, 0}},
		{SYS_init_module, {0}}, {SYS_finit_module, {3}}, {SYS_kexec_load, {0}},
		{SYS_reboot, {0}}, {SYS_syslog, {3}}, {SYS_acct, {0}}, {SYS_vhangup, {0}},
		{SYS_mincore, {(long)room, 4096, 0}}, {451, {3}})
