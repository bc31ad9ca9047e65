"""The state system: models, client, pure core, wire, stores and Ray actors."""
