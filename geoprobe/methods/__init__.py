"""The methods paragraph: what a run did, in sentences that can go into a paper, made from its configuration."""
