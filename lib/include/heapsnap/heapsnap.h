/* Umbrella header of heapsnap. See writer.h to write files, snapshot.h to read them, diff.h to
 * compare, holder.h for who holds what, convert.h to write other formats, capture.h to take one of
 * the calling process, annotate.h to tell it what a program knows of its memory. */
#ifndef HEAPSNAP_H
#define HEAPSNAP_H

#include <heapsnap/annotate.h>
#include <heapsnap/capture.h>
#include <heapsnap/convert.h>
#include <heapsnap/diff.h>
#include <heapsnap/graph.h>
#include <heapsnap/holder.h>
#include <heapsnap/report.h>
#include <heapsnap/snapshot.h>
#include <heapsnap/writer.h>

#endif
