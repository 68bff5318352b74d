-- On before anybody else can reach the tables; the policies come with the cutover. The owner, who builds, is not held back.
alter table crm_build.opportunities enable row level security;
alter table crm_build.contact_organizations enable row level security;
alter table crm_build.contact_preferred_principals enable row level security;
alter table crm_build.opportunity_participants enable row level security;
alter table crm_build.opportunity_products enable row level security;
alter table crm_build.activities enable row level security;
alter table crm_build.interaction_participants enable row level security;
