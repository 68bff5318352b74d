-- The sound lines of the mapping files while they are checked, with the companies that they name: of a line of agreements principal
-- and distributor, of the others one or none.
create temporary table mapping_lines (
    file text not null,
    line bigint not null,
    cells jsonb not null,
    companies bigint[] not null
) on commit drop
