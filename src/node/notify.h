/* notify.h - tells systemd how the node fares (sd_notify(3)'s protocol). Main thread. */
#ifndef ADVERB_NODE_NOTIFY_H
#define ADVERB_NODE_NOTIFY_H

/* Sends `state` ("READY=1\nSTATUS=...") to $NOTIFY_SOCKET, if there is one. Never blocks; a failure is logged at debug level. */
void adv_notify(const char *state);

#endif
