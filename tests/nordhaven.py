"""Four made-up reports on one made-up town, laid out as PDF text comes: headings, hard line breaks, hyphenation.

They share names (Nordhaven, Harbour Council, Lake Ilsen ...), so that multi-hop questions can be formed.
`PARAPHRASED` asks about them in other words: (question, words that stand only in the passage that answers it).
"""

ENERGY = """Nordhaven Energy Report

Introduction
Nordhaven is a harbour town of 48,000 people on Lake Ilsen. The Harbour Council decided in
2016 that the town must produce all of its electricity from renewable sources by 2035. This report
describes the plants that were built since then and the work that remains.

Solar Park Ilsen
The Solar Park Ilsen was opened in May 2018 on the grounds of a former gravel pit. It consists of
21,500 panels and delivers 9.4 megawatts on a sunny day. The park covers 14 percent of the yearly
electricity demand of Nordhaven. Sheep graze between the rows because mowing machines would dam-
age the cables. The panels are cleaned twice a year with rain water from the roof of the pump house. The
park does not use any pesticides. Each panel is expected to last 28 years.

Wind Turbines
Six wind turbines stand on the breakwater north of the ferry terminal. Each turbine has a
hub height of 98 metres and produces 3.2 megawatts. The turbines were supplied by the company
Halvorsen Kraft and cost 31 million euros in total. They are switched off for up to 40 minutes at dusk in
August and September because bats hunt near the rotors at that time. In 2022 the turbines delivered
38 percent of the electricity that Nordhaven consumed.

Battery Store
The battery store beside the Solar Park Ilsen was completed in 2021. It holds 24 megawatt hours,
which is enough to supply the town for about three hours. The store was financed by the Regional
Climate Fund, which paid 60 percent of the price. Its cells came from a bus company that had
replaced its fleet, so most of them are in their second life. A control room at the Harbour Council
decides every fifteen minutes whether the store is charged or discharged. Fire fighters train at
the store every spring.

District Heating
Waste heat from the fish factory warms 2,900 flats in the old town. Water leaves the factory at 81 degrees and
returns at 52 degrees. The pipes are eleven kilometres long. Before the network was built, most of
these flats burned heating oil. Engineers of the Technical University of Ilsen found that the network saves
7,600 tonnes of carbon dioxide a year. The connection is voluntary, but 91 percent of the owners
signed a contract.

Outlook
The Harbour Council plans a second solar park on the closed airfield for 2027. It would add 12 megawatts. Geothermal
drilling was rejected in 2020 because the rock under Lake Ilsen is too cold. The remaining gas
turbine will be retired when the second park is connected.
"""

WATER = """Nordhaven Water Report

Introduction
The water works of Nordhaven supply 48,000 people and the fish factory with drinking water. All of the water
comes from Lake Ilsen and from four wells in the Birch Forest. The Harbour Council owns the
water works since 1951. This report explains where the water comes from, how it is treated and what it costs.

Sources
Lake Ilsen provides 70 percent of the drinking water. The intake lies 32 metres below the
surface, where the temperature stays at six degrees through the year. The four wells in the Birch
Forest provide the rest. Their water is older than 400 years according to a study of the Technical
University of Ilsen. Motor boats are forbidden within 500 metres of the intake. In the dry summer of 2018 the level of
Lake Ilsen fell by 1.3 metres, and the ferry could not land for nine days.

Treatment
The water passes a sand filter, then a layer of activated carbon, and finally ultraviolet lamps.
Chlorine is not added, because the lamps kill germs reliably. The carbon layer removes traces
of medicines and is renewed every 18 months. A laboratory takes 5,200 samples a year and publishes the
results on the same day. The treatment plant was modernised in 2014 by the company Aquaverde for 17 million
euros.

Pipes and Leaks
The network has 312 kilometres of pipes. The oldest pipes are made of cast iron and were laid in
1908. Sound sensors listen for leaks at night, when the streets are quiet. Since the sensors were installed in
2019, losses dropped from 14 to 6 percent. A repair team reaches a burst pipe within 55 minutes on
average. Copper connections in private houses belong to the owners.

Price
A cubic metre of drinking water costs 1.85 euros. Households pay a base fee of 64 euros a year. Low-income
families receive a discount of one third. The price has not risen since 2019 because the pumps
run on cheap electricity from the Solar Park Ilsen at noon. The fish factory pays a higher rate because it uses
water at all hours.

Waste Water
The sewage plant cleans 11,000 cubic metres a day. Its digestion tower turns sludge into biogas, which drives
two engines. The engines produce 85 percent of the electricity that the sewage plant needs. Cleaned
water flows back into Lake Ilsen through a reed bed of five hectares. The reed bed was planted by school classes
in 2010. Since then the number of breeding bird species rose from 23 to 41.
"""

TRANSPORT = """Nordhaven Transport Report

Introduction
Traffic in Nordhaven changed more in ten years than in the fifty years before. The Harbour Council
closed the old town to private cars in 2017. This report describes the ferry, the buses, the bicycle routes
and the freight harbour, and it names the problems that are not solved.

Electric Ferry
The electric ferry Aurelia crosses Lake Ilsen in 22 minutes and carries 350 passengers and 60 bicycles. It
was built by the shipyard Tessmer and entered service in March 2019. The ferry is charged at the
landing stage for eight minutes after every crossing. Its batteries store 4.3 megawatt hours. The diesel
ferry that it replaced burned 1,100 litres of fuel a day. In winter the Aurelia breaks ice of up to 15
centimetres. Passengers pay 2.40 euros for a single ticket, and children travel free of charge.

Buses
The town runs 44 buses on nine lines. All buses have been electric since 2020, and their old batteries
now serve in the battery store beside the Solar Park Ilsen. Buses on the main line come every
six minutes. The drivers were trained for two weeks because electric buses brake differently. Ridership
grew by 27 percent between 2017 and 2023. The bus depot has a roof of solar panels.

Bicycle Routes
Bicycle route 1 connects the university with the harbour and is 8.5 kilometres long. It is lit at night by
lamps that switch on only when someone approaches. A counting post at the Birch Forest registers 3,400
cyclists on a working day. Snow is cleared from the bicycle routes before six in the morning. The
Technical University of Ilsen lends 600 bicycles to its students. Theft remains a problem: 410 bicycles were reported
stolen in 2023.

Freight Harbour
The freight harbour handles 1.9 million tonnes a year, mostly timber and salt. Ships at the quay must
use shore power instead of their diesel engines since 2021. The shore power was paid for by the Regional
Climate Fund with 5.5 million euros. Two cranes can load a ship of 120 metres in seven hours. Night work is
not permitted between 22 and 6 o'clock.

Open Problems
The bridge over the river Orve is too narrow for buses and bicycles together. A new bridge would cost 23 million
euros and the Harbour Council has postponed it twice. Commuters from the villages still drive, since
the last train leaves at 20:15. A survey of 2022 found that 58 percent of commuters would take a later train.
"""

HISTORY = """History of Nordhaven

Founding
Nordhaven was founded in 1284 by monks of the abbey of Orve. They built a chapel, a salt store and a small harbour on
Lake Ilsen. The salt came from springs near the Birch Forest and made the town rich. In 1391 the town
received the right to hold a market every Thursday, a custom that continues today.

Fire and Rebuilding
A fire destroyed two thirds of the town in the night of 9 October 1687. It started in a bakery and burned for
three days. The architect Maria Lindqvist planned the new streets in a regular grid and required brick walls
between all houses. Her plan was completed in 1712. The Town Museum keeps 140 of her drawings.

Industry
The railway reached Nordhaven in 1868 and the fish factory opened in 1894. The factory employed 1,200
people at its height, most of them women. A strike in 1911 lasted seven weeks and ended with a ten-hour working day.
The shipyard Tessmer was founded in 1902 by two brothers who had repaired fishing boats. It built
mine sweepers during the war and ferries after it.

The Lake
Lake Ilsen froze completely in the winters of 1929, 1947 and 1963. In the 1960s the water was so
dirty that swimming was forbidden for eleven years. The first sewage plant opened in 1974, and trout re-
turned to the lake in 1981. Fishermen catch about 90 tonnes of perch a year now.

Council and Citizens
The Harbour Council replaced the mayor in 1949 and has 31 members. It is elected every five years. In 1988 the council
voted against a nuclear power station on the southern shore by 16 to 15. Astrid Falk, who led the protest,
became the first woman to chair the council in 1994. She founded the Technical University of Ilsen in 1997 to keep
young people in the region. The university has 6,800 students and is known for its work on water and batteries.

Festivals
The Salt Fair takes place in the last week of August and attracts 75,000 visitors. Boats race from the chapel to the
breakwater on its first day. The Town Museum opens until midnight during the fair. No cars are allowed in the harbour
quarter in that week.
"""

DOCUMENTS = {"energy": ENERGY, "water": WATER, "transport": TRANSPORT, "history": HISTORY}

PARAPHRASED = [
    ("How many modules make up the photovoltaic plant in the old gravel pit?", "21,500"),
    ("What keeps the grass short between the solar rows?", "Sheep graze"),
    ("Why are the windmills stopped in the evening in late summer?", "bats hunt"),
    ("Which firm delivered the windmills?", "Halvorsen Kraft"),
    ("How long could the batteries supply all of the town?", "about three hours"),
    ("How hot is the water when it leaves the fish plant?", "81 degrees"),
    ("For what reason was drilling for geothermal heat refused?", "too cold"),
    ("At what depth is lake water taken in?", "32 metres"),
    ("What kills bacteria if no chlorine is used?", "ultraviolet lamps"),
    ("How fast do workers arrive when a water pipe bursts?", "55 minutes"),
    ("What does one cubic metre of tap water cost?", "1.85 euros"),
    ("Which gas comes from the sludge of the sewage works?", "biogas"),
    ("How long does the boat need to cross the lake?", "22 minutes"),
    ("How many travellers fit on the Aurelia?", "350 passengers"),
    ("How were bus drivers prepared for electric vehicles?", "trained for two weeks"),
    ("How many bikes were stolen?", "410 bicycles"),
    ("What may not happen in the freight harbour at night?", "Night work"),
    ("How expensive would a new crossing of the Orve be?", "23 million"),
    ("Who established the town?", "monks"),
    ("Where did the great blaze begin?", "bakery"),
    ("Who designed the streets after the blaze?", "Maria Lindqvist"),
    ("How long did the workers strike?", "seven weeks"),
    ("When did trout come back to the lake?", "1981"),
    ("Who headed the council as the first woman?", "Astrid Falk"),
    ("How many guests come to the Salt Fair?", "75,000"),
]
