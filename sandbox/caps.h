/*
 * caps.h - giving up capabilities, capabilities(7): what sandboxes and the node do alike. Any single-threaded process.
 */
#ifndef ADVERB_SANDBOX_CAPS_H
#define ADVERB_SANDBOX_CAPS_H

/* Empties the bounding set; needs CAP_SETPCAP. 0 or -errno: then part of it may be left. */
int adv_caps_empty_bounding_set(void);

/* Empties all other sets and looks whether they are empty. 0 or -errno. */
int adv_caps_drop(void);

#endif
