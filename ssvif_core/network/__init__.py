"""The network that is deployed, in torch. Needed to train and export, never at run time."""
