-- The sound lines of the mapping files while they are checked. asked: for each company that the line names, in the order of
-- its file, the column that does (column), how (kind: id, name or domain) and the column for its id (id_column).
create temporary table mapping_lines (
    file text not null,
    line bigint not null,
    cells jsonb not null,
    asked jsonb not null
) on commit drop
