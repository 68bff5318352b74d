{#- The target's enum types, made in the build schema and moved to their place by the cutover. -#}
{% macro enum_types() %}
    {{ return({
        'organization_type': ['customer', 'principal', 'distributor', 'prospect', 'vendor', 'partner', 'unknown'],
        'contact_role': [
            'decision_maker', 'influencer', 'buyer', 'end_user', 'gatekeeper', 'champion', 'technical', 'executive',
        ],
        'opportunity_stage': [
            'lead', 'qualified', 'needs_analysis', 'proposal', 'negotiation', 'closed_won', 'closed_lost', 'nurturing',
        ],
        'opportunity_status': ['active', 'on_hold', 'nurturing', 'stalled', 'expired'],
        'priority_level': ['low', 'medium', 'high', 'critical'],
        'activity_type': ['engagement', 'interaction'],
        'interaction_type': [
            'call', 'email', 'meeting', 'demo', 'proposal', 'follow_up', 'trade_show', 'site_visit',
            'contract_review', 'check_in', 'social',
        ],
        'participant_role': ['customer', 'principal', 'distributor', 'partner', 'competitor'],
        'relationship_status': ['active', 'pending', 'terminated'],
    }) }}
{% endmacro %}

{% macro create_enum_types() %}
    {%- for name, labels in enum_types().items() %}
do $types$
begin
    if to_regtype({{ sql_literal(adapter.quote(target.schema) ~ '.' ~ name) }}) is null then
        create type {{ adapter.quote(target.schema) }}.{{ name }} as enum ('{{ labels | join("', '") }}');
    end if;
end
$types$;
    {%- endfor %}
{% endmacro %}
