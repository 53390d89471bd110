"""The mathematics: the density, its terms and protocols, parameters, noise, schedules."""
