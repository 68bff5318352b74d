comment on table crm_build.products is 'One row per product of a principal.';
comment on table crm_build.principal_distributor_relationships is 'One row per agreement between a principal and a distributor; at most one of a pair is active.';
comment on column crm_build.principal_distributor_relationships.origin is 'agreement (mapping file), opportunity (seen on one), or manual.';
comment on column crm_build.principal_distributor_relationships.evidence is 'Number of opportunities on which the pair was seen at the migration.';
