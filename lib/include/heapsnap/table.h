/* The tables of a .snap file as seen through the library: which there are, and rows as columns of
 * 64-bit numbers.
 *
 * Shared by writer.h and snapshot.h. Columns are named by the ids of snapdef.h (SNAP_NODE_COL_SIZE,
 * ...), enumerations by its codes. */
#ifndef HEAPSNAP_TABLE_H
#define HEAPSNAP_TABLE_H

#include <heapsnap/common.h>
#include <heapsnap/snapdef.h> /* format/snapdef.h, installed beside this file */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum snap_table {
    SNAP_TABLE_META,
    SNAP_TABLE_STRS,
    SNAP_TABLE_MODS,
    SNAP_TABLE_FRAM,
    SNAP_TABLE_STAK,
    SNAP_TABLE_SYMB,
    SNAP_TABLE_TYPE,
    SNAP_TABLE_THRD,
    SNAP_TABLE_NODE,
    SNAP_TABLE_EDGE,
    SNAP_TABLE_ROOT,
    SNAP_TABLE_HOOK,
    SNAP_TABLE_POOL,
    SNAP_TABLE_REGN,
    SNAP_TABLE_RSRC,
    SNAP_TABLE_SUMM,
    SNAP_TABLE_TOCC,
    SNAP_N_TABLES
} snap_table;

/* One more than the greatest column id of any table, so that rows fit into `uint64_t
 * row[SNAP_COLUMNS_MAX]`. */
#define SNAP_COLUMNS_MAX 16

typedef enum snap_column_type {
    SNAP_COLUMN_NONE,
    SNAP_COLUMN_NUMBER,
    SNAP_COLUMN_REF,
    SNAP_COLUMN_BYTES
} snap_column_type;

/* What the format says of a column. */
typedef struct snap_column_info {
    const char *name; /* as in snap-format.md; NULL: no such column */
    snap_column_type type;
    snap_table target; /* of a REF */
} snap_column_info;

/* Chunk id (SNAP_ID_*) of a table, and back; SNAP_N_TABLES if unknown. */
SNAP_API uint32_t snap_table_id(snap_table table);
SNAP_API snap_table snap_table_of_id(uint32_t id);

/* Description of a column; static. A name of NULL if the table has no such column. */
SNAP_API snap_column_info snap_table_column(snap_table table, unsigned column);

/* Name of an enumeration's code, such as (SNAP_TABLE_NODE, SNAP_NODE_COL_DOMAIN, 1) -> "host"; NULL
 * if the column is no enumeration or the code is unknown. Static. */
SNAP_API const char *snap_code_name(snap_table table, unsigned column, uint64_t code);

#ifdef __cplusplus
}
#endif
#endif
